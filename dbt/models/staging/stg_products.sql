with
source as (
    select * from {{ source('snapshot', 'snapshot_products') }}
),

final as (
    select
        product_id,
        name,
        category,
        price,
        currency,
        stock,
        is_listed,
        listed_at
    from source
)

select * from final
