{{ config(meta={'changed': ['copied', 'copied_at']}) }}

select
    event_id,
    changed -> 'country' as country_written,
    changed -> 'marketing_opt_in' as marketing_opt_in_written,
    occurred_at,
    event_type,
    customer_id,
    copied_at
from {{ source('snapshot', 'snapshot_customer_events') }}
