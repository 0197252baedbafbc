{{ config(indexes=[{'columns': ['customer_id'], 'unique': true}]) }}

with
run as (
    select * from {{ ref('stg_run') }}
),

customers as (
    select * from {{ ref('dim_customers') }}
),

totals as (
    select * from {{ ref('int_customer_totals') }}
),

rfm as (
    select * from {{ ref('int_rfm') }}
),

subscriptions as (
    select
        customer_id,
        sum(mrr) as mrr,
        (array_agg(plan order by mrr desc, subscription_id))[1] as plan,
        min(started_at) as subscribed_since
    from {{ ref('fct_subscriptions') }}
    where status = 'active'
    group by customer_id
),

orders as (
    select * from {{ ref('int_customer_orders') }}
),

visits as (
    select * from {{ ref('int_customer_visits') }}
),

recent_visits as (
    select
        customer_id,
        count(*) as sessions_30d
    from {{ ref('fct_sessions') }}
    where started_at >= (select run.as_of - interval '720 hours' from run) and customer_id is not null
    group by customer_id
),

payments as (
    select * from {{ ref('int_payment_risk') }}
),

lifetimes as (
    select * from {{ source('lifetimes', 'customer_lifetimes') }}
),

final as (
    select
        customers.customer_id,
        customers.created_at,
        customers.country,
        customers.acquisition_channel,
        customers.acquisition_campaign,
        customers.is_deleted,
        coalesce(totals.orders, 0)::bigint as orders,
        {{ money('coalesce(totals.revenue, 0)') }} as revenue,
        {{ money(ratio('totals.revenue', 'totals.orders')) }} as aov,
        totals.first_order_at,
        totals.last_order_at,
        ({{ utc_date('run.as_of') }} - totals.last_order_on)::integer as recency_days,
        ({{ utc_date('run.as_of') }} - {{ utc_date('customers.created_at') }})::integer as tenure_days,
        rfm.r_score,
        rfm.f_score,
        rfm.m_score,
        rfm.rfm_score,
        rfm.segment,
        totals.repeat_order_days::integer as repeat_order_days,
        totals.order_span_days::integer as order_span_days,
        ({{ utc_date('run.as_of') }} - totals.first_order_on)::integer as age_days,
        totals.repeat_order_value::numeric(18, 2) as repeat_order_value,
        {{ money('coalesce(totals.revenue, 0)') }} as ltv_historical,
        lifetimes.ltv_12m::numeric(18, 2) as ltv_predicted_12m,
        1 - lifetimes.p_alive as churn_risk,
        {{ risk_band('1 - lifetimes.p_alive') }} as risk_band,
        payments.payment_risk,
        {{ risk_band('payments.payment_risk') }} as payment_risk_band,
        coalesce(subscriptions.mrr, 0)::numeric(18, 2) as mrr,
        subscriptions.plan,
        subscriptions.subscribed_since,
        coalesce(recent_visits.sessions_30d, 0)::bigint as sessions_30d,
        visits.last_session_at,
        orders.favourite_category,
        run.copied_at as dbt_updated_at
    from customers
    cross join run
    left join totals on customers.customer_id = totals.customer_id
    left join payments on customers.customer_id = payments.customer_id
    left join lifetimes on customers.customer_id = lifetimes.customer_id
    left join rfm on customers.customer_id = rfm.customer_id
    left join subscriptions on customers.customer_id = subscriptions.customer_id
    left join orders on customers.customer_id = orders.customer_id
    left join visits on customers.customer_id = visits.customer_id
    left join recent_visits on customers.customer_id = recent_visits.customer_id
)

select * from final
