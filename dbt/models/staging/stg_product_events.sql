{{ config(meta={'changed': ['copied', 'copied_at']}) }}

with
source as (
    select * from {{ source('snapshot', 'snapshot_product_events') }}
),

final as (
    select
        event_id,
        occurred_at,
        event_type,
        visitor_id,
        customer_id,
        anonymous_id,
        product_id,
        quantity,
        rating,
        is_bot,
        copied_at
    from source
    where event_type not in ('product_listed', 'product_delisted')
)

select * from final
