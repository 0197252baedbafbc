{{ config(meta={'changed': ['copied', 'copied_at']}) }}

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
from {{ source('snapshot', 'snapshot_product_events') }}
where event_type not in ('product_listed', 'product_delisted')
