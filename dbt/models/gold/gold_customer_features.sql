{{ config(indexes=[{'columns': ['customer_id'], 'unique': true}]) }}

with
run as (
    select
        *,
        (as_of at time zone 'UTC' - interval '3 months') at time zone 'UTC' as months_ago_3,
        (as_of at time zone 'UTC' - interval '6 months') at time zone 'UTC' as months_ago_6,
        as_of - interval '720 hours' as days_ago_30,
        as_of - interval '1440 hours' as days_ago_60
    from {{ ref('stg_run') }}
),

customers as (
    select * from {{ ref('dim_customers') }}
),

totals as (
    select * from {{ ref('int_customer_totals') }}
),

ordered as (
    select
        orders.customer_id,
        count(*) filter (where orders.ordered_at >= (select run.months_ago_3 from run)) as orders_3m,
        count(*) filter (where orders.ordered_at < (select run.months_ago_3 from run)) as orders_3m_before
    from {{ ref('fct_orders') }} as orders
    where orders.ordered_at >= (select run.months_ago_6 from run)
    group by orders.customer_id
),

visited as (
    select * from {{ ref('int_customer_visits') }}
),

visited_recently as (
    select
        sessions.customer_id,
        count(*) filter (where sessions.started_at >= (select run.days_ago_30 from run)) as sessions_30d,
        count(*) filter (where sessions.started_at < (select run.days_ago_30 from run)) as sessions_30d_before
    from {{ ref('fct_sessions') }} as sessions
    where sessions.started_at >= (select run.days_ago_60 from run) and sessions.customer_id is not null
    group by sessions.customer_id
),

counted as (
    select
        customers.customer_id,
        customers.acquisition_channel,
        customers.created_at,
        totals.last_order_on,
        totals.repeat_order_days,
        totals.refunded,
        totals.purchased,
        visited.last_session_at,
        coalesce(totals.orders, 0) as orders,
        coalesce(ordered.orders_3m, 0) as orders_3m,
        coalesce(ordered.orders_3m_before, 0) as orders_3m_before,
        coalesce(visited_recently.sessions_30d, 0) as sessions_30d,
        coalesce(visited_recently.sessions_30d_before, 0) as sessions_30d_before,
        coalesce(visited.sessions_with_cart, 0) as sessions_with_cart,
        coalesce(visited.sessions_abandoned, 0) as sessions_abandoned
    from customers
    left join totals on customers.customer_id = totals.customer_id
    left join ordered on customers.customer_id = ordered.customer_id
    left join visited on customers.customer_id = visited.customer_id
    left join visited_recently on customers.customer_id = visited_recently.customer_id
),

final as (
    select
        counted.customer_id,
        counted.acquisition_channel,
        counted.orders::bigint as orders,
        ({{ utc_date('run.as_of') }} - counted.last_order_on)::integer as recency_days,
        counted.repeat_order_days::integer as repeat_order_days,
        counted.orders_3m,
        counted.orders_3m_before,
        {{ ratio('counted.orders_3m - counted.orders_3m_before', 'counted.orders_3m_before') }} as order_trend,
        {{ ratio('counted.refunded', 'counted.purchased') }} as refund_share,
        counted.sessions_30d,
        counted.sessions_30d_before,
        {{ ratio('counted.sessions_30d - counted.sessions_30d_before', 'counted.sessions_30d_before') }}
            as session_trend,
        {{ ratio('counted.sessions_abandoned', 'counted.sessions_with_cart') }} as cart_abandonment,
        ({{ utc_date('run.as_of') }} - {{ utc_date('counted.last_session_at') }})::integer as days_since_last_session,
        ({{ utc_date('run.as_of') }} - {{ utc_date('counted.created_at') }})::integer as tenure_days,
        run.copied_at as dbt_updated_at
    from counted
    cross join run
)

select * from final
