{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['subscriber', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
orders as (
    select * from {{ ref('fct_orders') }}
    where {{ changed('subscriber', 'customer_id') }}
),

spells as (
    select * from {{ ref('int_subscription_spells') }}
    where {{ changed('subscriber', 'customer_id') }}
),

grains as (
    select *
    from (values ('day', interval '1 day'), ('month', interval '1 month')) as grains (grain, step)
),

days as (
    select
        customer_id,
        ordered_on as first_day,
        ordered_on as last_day
    from orders
    union all
    select
        customer_id,
        {{ utc_date('active_from') }} as first_day,
        -- a subscription that is active goes on to the end of all periods
        coalesce({{ utc_date("active_to - interval '1 microsecond'") }}, 'infinity'::date) as last_day
    from spells
),

periods as (
    select distinct
        grains.grain,
        grains.step,
        days.customer_id,
        date_trunc(grains.grain, days.first_day::timestamp)::date as first_period,
        date_trunc(grains.grain, days.last_day::timestamp)::date as last_period
    from days
    cross join grains
),

reached as (
    select
        *,
        max(last_period) over (
            partition by grain, customer_id order by first_period, last_period
            rows between unbounded preceding and 1 preceding
        ) as reached_period
    from periods
),

-- a span goes on where the next one begins in the period after it at the latest
numbered as (
    select
        *,
        count(*) filter (where reached_period is null or first_period > reached_period + step) over (
            partition by grain, customer_id order by first_period, last_period
            rows between unbounded preceding and current row
        ) as span_number
    from reached
),

final as (
    select
        grain,
        customer_id,
        min(first_period) as first_period,
        -- null: still active as of the run
        nullif(max(last_period), 'infinity') as last_period
    from numbered
    group by grain, customer_id, span_number
)

select * from final
