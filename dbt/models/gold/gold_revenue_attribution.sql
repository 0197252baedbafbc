{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    on_schema_change='fail',
    meta={'changed': ['booked_day', 'day']},
    indexes=[{'columns': ['day']}]
) }}

with
run as (
    select * from {{ ref('stg_run') }}
),

credits as (
    select * from {{ ref('int_attribution_credits') }}
    where {{ changed('booked_day', 'booked_on') }}
),

booked as (
    select
        booked_on,
        model,
        channel,
        campaign,
        category,
        sum(conversions) as conversions,
        sum(revenue) as revenue
    from credits
    group by booked_on, model, channel, campaign, category
),

final as (
    select
        booked.booked_on as day,
        booked.model,
        booked.channel,
        booked.campaign,
        booked.category,
        round(booked.conversions, 6) as conversions,
        {{ money('booked.revenue') }} as revenue,
        run.copied_at as dbt_updated_at
    from booked
    cross join run
)

select * from final
