{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['person', 'person_id']},
    indexes=[{'columns': ['person_id']}, {'columns': ['customer_id']}]
) }}

with
sessions as (
    select * from {{ ref('int_stitched_sessions') }}
    where {{ changed('person', 'person_id') }}
),

totals as (
    select
        visit_id as session_id,
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        count(*) as sessions,
        sum(events)::bigint as events,
        sum(page_views)::bigint as page_views,
        sum(products_viewed)::bigint as products_viewed,
        sum(carts)::bigint as carts,
        sum(searches)::bigint as searches,
        sum(checkouts)::bigint as checkouts,
        sum(purchases)::bigint as purchases,
        sum(revenue) as revenue
    from sessions
    group by visit_id
),

final as (
    select
        totals.session_id,
        firsts.person_id,
        firsts.customer_id,
        totals.started_at,
        totals.ended_at,
        {{ utc_date('totals.started_at') }} as started_on,
        totals.sessions,
        totals.events,
        totals.page_views,
        totals.products_viewed,
        totals.carts,
        totals.searches,
        totals.checkouts,
        totals.purchases,
        totals.revenue,
        firsts.channel,
        firsts.campaign,
        firsts.landing_page,
        firsts.country,
        firsts.device
    from totals
    inner join sessions as firsts on totals.session_id = firsts.session_id
)

select * from final
