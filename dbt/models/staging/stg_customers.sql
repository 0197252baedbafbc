{{ config(meta={'changed': ['copied', 'copied_at']}) }}

select
    customer_id,
    country,
    created_at,
    marketing_opt_in,
    first_seen_at,
    last_seen_at,
    is_deleted,
    copied_at
from {{ source('snapshot', 'snapshot_customers') }}
