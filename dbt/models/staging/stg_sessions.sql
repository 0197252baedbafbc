with
source as (
    select * from {{ source('snapshot', 'snapshot_sessions') }}
),

final as (
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
        is_bot or is_runaway as is_bot
    from source
)

select * from final
