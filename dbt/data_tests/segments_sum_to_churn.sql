-- Each way of grouping customers gives the month's own churn.
with
metrics as (
    select * from {{ ref('gold_business_metrics') }}
    where grain = 'month'
),

segments as (
    select
        month,
        dimension,
        sum(customers_churned) / sum(customers_before) as customer_churn_rate
    from {{ ref('gold_churn_by_segment') }}
    group by month, dimension
)

select
    segments.month,
    segments.dimension,
    segments.customer_churn_rate,
    metrics.customer_churn_rate as expected
from segments
inner join metrics on segments.month = metrics.period_start
where abs(segments.customer_churn_rate - metrics.customer_churn_rate) > 0.000001
