with
run as (
    select * from {{ ref('stg_run') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
),

spells as (
    select * from {{ ref('int_subscription_spells') }}
),

subscribed as (
    select
        spells.customer_id,
        days.day::date as day
    from spells
    cross join run
    cross join generate_series(
        {{ utc_date('spells.active_from') }}::timestamp,
        {{ utc_date("coalesce(spells.active_to, run.as_of) - interval '1 microsecond'") }}::timestamp,
        interval '1 day'
    ) as days (day)
),

days as (
    select
        customer_id,
        ordered_on as day
    from orders
    union
    select
        customer_id,
        day
    from subscribed
),

final as (
    select
        'day' as grain,
        day as period_start,
        customer_id
    from days
    union all
    select distinct
        'month' as grain,
        date_trunc('month', day)::date as period_start,
        customer_id
    from days
)

select * from final
