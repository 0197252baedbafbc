{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['product_day', 'day']},
    indexes=[{'columns': ['product_id', 'day']}]
) }}

with
runaways as (
    select
        visitor_id,
        started_at,
        ended_at
    from {{ ref('stg_sessions') }}
    where is_bot
),

of_bots as (
    select distinct events.event_id
    from {{ ref('stg_product_events') }} as events
    inner join runaways
        on
            events.visitor_id = runaways.visitor_id
            and events.occurred_at between runaways.started_at and runaways.ended_at
),

events as (
    select
        events.product_id,
        {{ utc_date('events.occurred_at') }} as day,
        events.event_type,
        events.rating,
        events.is_bot or of_bots.event_id is not null as is_of_bots
    from {{ ref('stg_product_events') }} as events
    {% if goes_on() -%}
        inner join {{ source('changes', 'affected_product_days') }} as changed
            on
                events.product_id = changed.product_id
                and events.occurred_at >= {{ utc_instant('changed.day') }}
                and events.occurred_at < {{ utc_instant('changed.day + 1') }}
    {%- endif %}
    left join of_bots on events.event_id = of_bots.event_id
    where events.product_id is not null
),

final as (
    select
        product_id,
        day,
        count(*) filter (where not is_of_bots) as interactions,
        count(*) filter (where not is_of_bots and event_type = 'product_viewed') as views,
        count(*) filter (where not is_of_bots and event_type = 'cart_added') as carts,
        count(rating) filter (where not is_of_bots and event_type = 'product_reviewed') as reviews,
        avg(rating) filter (where not is_of_bots and event_type = 'product_reviewed') as rating
    from events
    group by product_id, day
)

select * from final
