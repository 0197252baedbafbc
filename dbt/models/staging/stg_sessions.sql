{{ config(meta={'changed': ['copied', 'copied_at']}) }}

select
    session_id,
    visitor_id,
    customer_id,
    started_at,
    ended_at,
    events,
    page_views,
    products_viewed,
    carts,
    searches,
    checkouts,
    purchases,
    revenue_base as revenue,
    coalesce(channel, 'direct') as channel,
    campaign,
    landing_page,
    country,
    device,
    is_bot or is_runaway as is_bot,
    copied_at
from {{ source('snapshot', 'snapshot_sessions') }}
