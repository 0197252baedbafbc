with
run as (
    select * from {{ ref('stg_run') }}
),

months as (
    select * from {{ ref('int_periods') }}
    where grain = 'month'
),

channels as (
    select * from {{ ref('channels') }}
),

acquired as (
    select
        date_trunc('month', totals.first_order_on::timestamp)::date as month,
        customers.acquisition_channel as channel,
        count(*) as customers_new,
        sum(totals.revenue) as revenue_to_date
    from {{ ref('int_customer_totals') }} as totals
    inner join {{ ref('dim_customers') }} as customers on totals.customer_id = customers.customer_id
    where totals.orders > 0
    group by 1, 2
),

spent as (
    select
        date_trunc('month', spend.spend_date::timestamp)::date as month,
        spend.channel,
        sum(spend.spend) as spend
    from {{ ref('marketing_spend') }} as spend
    cross join run
    where {{ utc_instant('spend.spend_date') }} < run.as_of
    group by 1, 2
),

joined as (
    select
        month,
        channel,
        coalesce(acquired.customers_new, 0) as customers_new,
        coalesce(acquired.revenue_to_date, 0) as revenue_to_date,
        coalesce(spent.spend, 0) as spend
    from acquired
    full join spent using (month, channel)
),

final as (
    select
        joined.month,
        joined.channel,
        channels.is_paid,
        months.is_complete,
        joined.customers_new,
        {{ money('joined.spend') }} as marketing_spend,
        {{ money(ratio('joined.spend', 'joined.customers_new')) }} as cac,
        {{ money('joined.revenue_to_date') }} as revenue_to_date,
        {{ money(ratio('joined.revenue_to_date', 'joined.customers_new')) }} as ltv_historical,
        {{ ratio(
            ratio('joined.revenue_to_date', 'joined.customers_new'),
            ratio('joined.spend', 'joined.customers_new')
        ) }} as ltv_to_cac,
        run.copied_at as dbt_updated_at
    from joined
    inner join months on joined.month = months.period_start
    left join channels on joined.channel = channels.channel
    cross join run
)

select * from final
