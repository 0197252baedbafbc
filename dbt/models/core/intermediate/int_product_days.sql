{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['product_day', 'day']},
    indexes=[{'columns': ['product_id', 'day']}]
) }}

with
product_events as (
    select
        events.*,
        {{ utc_date('events.occurred_at') }} as day
    from {{ ref('stg_product_events') }} as events
    {% if goes_on() -%}
        inner join {{ source('changes', 'affected_product_days') }} as changed
            on
                events.product_id = changed.product_id
                and {{ utc_date('events.occurred_at') }} = changed.day
    {%- endif %}
    where events.product_id is not null
),

runaways as (
    select
        visitor_id,
        started_at,
        ended_at
    from {{ ref('stg_sessions') }}
    where is_bot
),

of_bots as (
    select distinct product_events.event_id
    from product_events
    inner join runaways
        on
            product_events.visitor_id = runaways.visitor_id
            and product_events.occurred_at between runaways.started_at and runaways.ended_at
),

events as (
    select
        product_events.*,
        product_events.is_bot or of_bots.event_id is not null as is_of_bots
    from product_events
    left join of_bots on product_events.event_id = of_bots.event_id
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
