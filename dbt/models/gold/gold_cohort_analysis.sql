with
run as (
    select * from {{ ref('stg_run') }}
),

months as (
    select * from {{ ref('int_periods') }}
    where grain = 'month'
),

members as (
    select
        customer_id,
        date_trunc('month', first_order_on::timestamp)::date as cohort_month
    from {{ ref('int_customer_totals') }}
    where orders > 0
),

cohorts as (
    select
        cohort_month,
        count(*) as customers
    from members
    group by cohort_month
),

booked as (
    select
        members.cohort_month,
        booked.month,
        count(*) filter (where booked.orders > 0) as active,
        sum(booked.revenue) as revenue
    from {{ ref('int_customer_months') }} as booked
    inner join members on booked.customer_id = members.customer_id
    group by members.cohort_month, booked.month
),

-- every cohort has every month up to as_of
filled as (
    select
        cohorts.cohort_month,
        {{ months_between('cohorts.cohort_month', 'months.period_start') }} as months_since,
        months.is_complete,
        cohorts.customers,
        coalesce(booked.active, 0) as active,
        coalesce(booked.revenue, 0) as revenue
    from cohorts
    inner join months on cohorts.cohort_month <= months.period_start
    left join booked on cohorts.cohort_month = booked.cohort_month and months.period_start = booked.month
),

final as (
    select
        filled.cohort_month,
        filled.months_since,
        filled.is_complete,
        filled.customers,
        filled.active,
        {{ ratio('filled.active', 'filled.customers') }} as retention,
        {{ money('filled.revenue') }} as revenue,
        {{ money(ratio('filled.revenue', 'filled.customers')) }} as revenue_per_customer,
        {{ money(ratio(
            'sum(filled.revenue) over (partition by filled.cohort_month order by filled.months_since)',
            'filled.customers'
        )) }} as ltv_cumulative,
        run.copied_at as dbt_updated_at
    from filled
    cross join run
)

select * from final
