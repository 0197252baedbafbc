with
source as (
    select * from {{ source('snapshot', 'snapshot_customers') }}
),

final as (
    select
        customer_id,
        country,
        created_at,
        marketing_opt_in,
        first_seen_at,
        last_seen_at,
        is_deleted
    from source
)

select * from final
