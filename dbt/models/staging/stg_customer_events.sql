with
source as (
    select * from {{ source('snapshot', 'snapshot_customer_events') }}
),

final as (
    select
        event_id,
        occurred_at,
        event_type,
        customer_id
    from source
)

select * from final
