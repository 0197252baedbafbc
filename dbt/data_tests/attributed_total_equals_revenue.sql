-- Under every model each day's credit is the day's revenue, and a whole number of orders is credited.
with
metrics as (
    select * from {{ ref('gold_business_metrics') }}
    where grain = 'day'
),

credited as (
    select
        day,
        model,
        sum(revenue) as revenue,
        sum(conversions) as conversions
    from {{ ref('gold_revenue_attribution') }}
    group by day, model
)

select
    credited.day,
    credited.model,
    credited.revenue,
    metrics.revenue as booked,
    credited.conversions,
    metrics.orders
from credited
left join metrics on credited.day = metrics.period_start
where
    credited.revenue is distinct from metrics.revenue
    or abs(credited.conversions - metrics.orders) > 0.01
