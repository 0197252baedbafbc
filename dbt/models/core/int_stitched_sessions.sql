with
sessions as (
    select * from {{ ref('stg_sessions') }}
),

intervals as (
    select * from {{ ref('int_identity_intervals') }}
),

stitched as (
    select
        sessions.*,
        coalesce(sessions.customer_id, intervals.customer_id) as person_customer_id,
        case
            when coalesce(sessions.customer_id, intervals.customer_id) is not null
                then 'customer:' || coalesce(sessions.customer_id, intervals.customer_id)
            else 'visitor:' || sessions.visitor_id
        end as person_id
    from sessions
    left join intervals
        on
            sessions.customer_id is null
            and sessions.visitor_id = intervals.anonymous_id
            and sessions.started_at > intervals.owned_after
            and sessions.started_at <= intervals.owned_until
    where not sessions.is_bot
),

reached as (
    select
        *,
        max(ended_at) over (
            partition by person_id order by started_at, session_id
            rows between unbounded preceding and 1 preceding
        ) as reached_at
    from stitched
),

numbered as (
    select
        *,
        count(*) filter (
            where reached_at is null
            or started_at - reached_at > interval '1 second' * {{ var('session_gap_seconds') }}
        ) over (
            partition by person_id order by started_at, session_id
            rows between unbounded preceding and current row
        ) as visit_number
    from reached
),

final as (
    select
        session_id,
        first_value(session_id) over (
            partition by person_id, visit_number order by started_at, session_id
        ) as visit_id,
        person_id,
        person_customer_id as customer_id,
        visitor_id,
        customer_id is null and person_customer_id is not null as is_linked,
        started_at,
        ended_at,
        events,
        page_views,
        products_viewed,
        carts,
        searches,
        checkouts,
        purchases,
        revenue,
        channel,
        campaign,
        landing_page,
        country,
        device
    from numbered
)

select * from final
