{{ config(meta={'changed': ['copied', 'copied_at']}) }}

select
    event_id,
    occurred_at,
    service,
    level,
    latency_ms,
    copied_at
from {{ source('snapshot', 'snapshot_system_logs') }}
