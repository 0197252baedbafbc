with
run as (
    select * from {{ ref('stg_run') }}
),

periods as (
    select * from {{ ref('int_periods') }}
),

grains as (
    select * from (values ('day'), ('month')) as grains (grain)
),

booked_days as (
    select
        booked_on as day,
        sum(amount) as revenue,
        count(*) filter (where kind = 'purchase') as orders
    from {{ ref('fct_bookings') }}
    group by booked_on
),

booked as (
    select
        grains.grain,
        date_trunc(grains.grain, booked_days.day::timestamp)::date as period_start,
        sum(booked_days.revenue) as revenue,
        sum(booked_days.orders)::bigint as orders
    from booked_days
    cross join grains
    group by 1, 2
),

-- each new customer with what they brought in so far, for ltv_to_cac
new_customers as (
    select
        grains.grain,
        date_trunc(grains.grain, totals.first_order_on::timestamp)::date as period_start,
        count(*) as customers_new,
        count(*) filter (where channels.is_paid) as customers_new_paid,
        sum(totals.revenue) as revenue_to_date
    from {{ ref('int_customer_totals') }} as totals
    inner join {{ ref('dim_customers') }} as customers on totals.customer_id = customers.customer_id
    left join {{ ref('channels') }} as channels on customers.acquisition_channel = channels.channel
    cross join grains
    where totals.orders > 0
    group by 1, 2
),

-- how many spans begin in a period, and how many have ended with the one before
spans_step as (
    select
        grain,
        first_period as period_start,
        count(*) as begun,
        0 as ended
    from {{ ref('int_active_spans') }}
    group by grain, first_period
    union all
    select
        grain,
        (last_period + ('1 ' || grain)::interval)::date as period_start,
        0 as begun,
        count(*) as ended
    from {{ ref('int_active_spans') }}
    where last_period is not null
    group by grain, last_period
),

active_steps as (
    select
        grain,
        period_start,
        sum(begun) - sum(ended) as step,
        sum(ended) as ended
    from spans_step
    group by grain, period_start
),

visited_days as (
    select
        started_on as day,
        count(*) as sessions,
        count(*) filter (where purchases > 0) as sessions_with_purchase
    from {{ ref('fct_sessions') }}
    group by started_on
),

visited as (
    select
        grains.grain,
        date_trunc(grains.grain, visited_days.day::timestamp)::date as period_start,
        sum(visited_days.sessions)::bigint as sessions,
        sum(visited_days.sessions_with_purchase)::bigint as sessions_with_purchase
    from visited_days
    cross join grains
    group by 1, 2
),

moved as (
    select
        grain,
        period_start,
        sum(mrr_end) filter (where movement = 'new') as mrr_new,
        sum(mrr_end) filter (where movement = 'reactivation') as mrr_reactivation,
        sum(mrr_end - mrr_start) filter (where movement = 'expansion') as mrr_expansion,
        sum(mrr_start - mrr_end) filter (where movement = 'contraction') as mrr_contraction,
        sum(mrr_start) filter (where movement = 'churned') as mrr_churned
    from {{ ref('int_mrr_movements') }}
    group by grain, period_start
),

-- straight from the subscriptions, so that the movements have something to be tested against
mrr_days as (
    select
        {{ utc_date('active_from') }} as day,
        sum(mrr) as step
    from {{ ref('int_subscription_spells') }}
    group by 1
    union all
    select
        {{ utc_date('active_to') }} as day,
        -sum(mrr) as step
    from {{ ref('int_subscription_spells') }}
    where active_to is not null
    group by 1
),

mrr_steps as (
    select
        grains.grain,
        date_trunc(grains.grain, mrr_days.day::timestamp)::date as period_start,
        sum(mrr_days.step) as step
    from mrr_days
    cross join grains
    group by 1, 2
),

spent as (
    select
        grains.grain,
        date_trunc(grains.grain, spend.spend_date::timestamp)::date as period_start,
        sum(spend.spend) as marketing_spend
    from {{ ref('marketing_spend') }} as spend
    cross join grains
    cross join run
    where {{ utc_instant('spend.spend_date') }} < run.as_of
    group by 1, 2
),

joined as (
    select
        periods.grain,
        periods.period_start,
        periods.period_end,
        periods.is_complete,
        coalesce(booked.revenue, 0) as revenue,
        coalesce(booked.orders, 0) as orders,
        coalesce(new_customers.customers_new, 0) as customers_new,
        coalesce(new_customers.customers_new_paid, 0) as customers_new_paid,
        coalesce(new_customers.revenue_to_date, 0) as revenue_to_date,
        coalesce(sum(active_steps.step) over past, 0)::bigint as customers_active,
        coalesce(active_steps.ended, 0)::bigint as customers_churned,
        coalesce(visited.sessions, 0) as sessions,
        coalesce(visited.sessions_with_purchase, 0) as sessions_with_purchase,
        coalesce(sum(mrr_steps.step) over past, 0) as mrr,
        coalesce(sum(mrr_steps.step) over past, 0) - coalesce(mrr_steps.step, 0) as mrr_start,
        coalesce(moved.mrr_new, 0) as mrr_new,
        coalesce(moved.mrr_reactivation, 0) as mrr_reactivation,
        coalesce(moved.mrr_expansion, 0) as mrr_expansion,
        coalesce(moved.mrr_contraction, 0) as mrr_contraction,
        coalesce(moved.mrr_churned, 0) as mrr_churned,
        coalesce(spent.marketing_spend, 0) as marketing_spend
    from periods
    left join booked using (grain, period_start)
    left join new_customers using (grain, period_start)
    left join active_steps using (grain, period_start)
    left join visited using (grain, period_start)
    left join moved using (grain, period_start)
    left join mrr_steps using (grain, period_start)
    left join spent using (grain, period_start)
    window past as (partition by periods.grain order by periods.period_start)
),

compared as (
    select
        *,
        case when grain = 'month' then lag(customers_active) over history end as customers_before,
        case when grain = 'month' then lag(revenue) over history end as revenue_previous,
        case when grain = 'month' then lag(revenue, 12) over history end as revenue_year_before
    from joined
    window history as (partition by grain order by period_start)
),

final as (
    select
        compared.grain,
        compared.period_start,
        compared.period_end,
        compared.is_complete,
        {{ money('compared.revenue') }} as revenue,
        {{ money('compared.revenue_previous') }} as revenue_previous,
        {{ ratio('compared.revenue - compared.revenue_previous', 'compared.revenue_previous') }} as revenue_mom,
        {{ ratio('compared.revenue - compared.revenue_year_before', 'compared.revenue_year_before') }} as revenue_yoy,
        compared.orders,
        {{ money(ratio('compared.revenue', 'compared.orders')) }} as aov,
        compared.customers_new,
        compared.customers_active,
        compared.sessions,
        {{ ratio('compared.sessions_with_purchase', 'compared.sessions') }} as conversion_rate,
        {{ money('compared.mrr_start') }} as mrr_start,
        {{ money('compared.mrr') }} as mrr,
        {{ money('compared.mrr_new') }} as mrr_new,
        {{ money('compared.mrr_reactivation') }} as mrr_reactivation,
        {{ money('compared.mrr_expansion') }} as mrr_expansion,
        {{ money('compared.mrr_contraction') }} as mrr_contraction,
        {{ money('compared.mrr_churned') }} as mrr_churned,
        {{ ratio('compared.customers_churned', 'compared.customers_before') }} as customer_churn_rate,
        {{ money('compared.marketing_spend') }} as marketing_spend,
        {{ money(ratio('compared.marketing_spend', 'compared.customers_new_paid')) }} as cac_paid,
        {{ money(ratio('compared.marketing_spend', 'compared.customers_new')) }} as cac_blended,
        {{ ratio(
            ratio('compared.revenue_to_date', 'compared.customers_new'),
            ratio('compared.marketing_spend', 'compared.customers_new')
        ) }} as ltv_to_cac,
        run.copied_at as dbt_updated_at
    from compared
    cross join run
)

select * from final
