{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['person', 'person_id']},
    indexes=[{'columns': ['person_id']}, {'columns': ['visitor_id']}],
    pre_hook="{{ affect_persons() }}"
) }}

with
sessions as (
    select * from {{ ref('stg_sessions') }}
    where {{ changed('visitor_of_person', 'visitor_id') }}
),

intervals as (
    select * from {{ ref('int_identity_intervals') }}
),

stitched as (
    select
        sessions.*,
        coalesce(sessions.customer_id, intervals.customer_id) as person_customer_id,
        {{ person_of('sessions', 'intervals') }} as person_id
    from sessions
    left join intervals
        on {{ is_owned('sessions', 'intervals') }}
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
    where {{ changed('person', 'person_id') }}
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
