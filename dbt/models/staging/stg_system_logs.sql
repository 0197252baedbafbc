{{ config(meta={'changed': ['copied', 'copied_at']}) }}

with
source as (
    select * from {{ source('snapshot', 'snapshot_system_logs') }}
),

final as (
    select
        event_id,
        occurred_at,
        service,
        level,
        latency_ms,
        copied_at
    from source
)

select * from final
