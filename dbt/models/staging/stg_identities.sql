{{ config(meta={'changed': ['copied', 'copied_at']}) }}

select
    anonymous_id,
    customer_id,
    seen_at,
    copied_at
from {{ source('snapshot', 'snapshot_identities') }}
