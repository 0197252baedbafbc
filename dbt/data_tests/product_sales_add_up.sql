-- Of each day, products have sold and brought what was booked of them, and people did with them what they did.
with
expected as (
    select
        day,
        sum(purchases) as purchases,
        sum(revenue) as revenue,
        sum(views) as views,
        sum(carts) as carts,
        sum(reviews) as reviews
    from (
        select
            day,
            purchases,
            revenue,
            0 as views,
            0 as carts,
            0 as reviews
        from {{ ref('int_product_bookings') }}
        where product_id is not null
        union all
        select
            day,
            0 as purchases,
            0 as revenue,
            views,
            carts,
            reviews
        from {{ ref('int_product_days') }}
    ) as parts
    group by day
),

found as (
    select
        day,
        sum(purchases) as purchases,
        sum(revenue) as revenue,
        sum(views) as views,
        sum(carts) as carts,
        sum(reviews) as reviews
    from {{ ref('gold_product_performance') }}
    group by day
)

select
    day,
    found.revenue,
    expected.revenue as expected_revenue
from expected
full join found using (day)
where
    (
        coalesce(found.purchases, 0),
        coalesce(found.revenue, 0),
        coalesce(found.views, 0),
        coalesce(found.carts, 0),
        coalesce(found.reviews, 0)
    ) <> (
        coalesce(expected.purchases, 0),
        coalesce(expected.revenue, 0),
        coalesce(expected.views, 0),
        coalesce(expected.carts, 0),
        coalesce(expected.reviews, 0)
    )
