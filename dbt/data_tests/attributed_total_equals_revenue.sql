-- Under every model each day's credit is the day's revenue, and a whole number of orders is credited.
with
booked as (
    select
        metrics.period_start as day,
        models.model,
        metrics.revenue,
        metrics.orders
    from {{ ref('gold_business_metrics') }} as metrics
    cross join (
        values ('first'), ('last'), ('last_non_direct'), ('linear'), ('position'), ('time_decay')
    ) as models (model)
    where metrics.grain = 'day'
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
    day,
    model,
    credited.revenue,
    booked.revenue as booked,
    credited.conversions,
    booked.orders
from booked
full join credited using (day, model)
where
    coalesce(credited.revenue, 0) <> coalesce(booked.revenue, 0)
    or abs(coalesce(credited.conversions, 0) - coalesce(booked.orders, 0)) > 0.01
