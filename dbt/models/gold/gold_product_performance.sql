with
run as (
    select * from {{ ref('stg_run') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

runaways as (
    select
        visitor_id,
        started_at,
        ended_at
    from {{ ref('stg_sessions') }}
    where is_bot
),

interactions as (
    select
        events.product_id,
        {{ utc_date('events.occurred_at') }} as day,
        count(*) filter (where events.event_type = 'product_viewed') as views,
        count(*) filter (where events.event_type = 'cart_added') as carts,
        count(events.rating) filter (where events.event_type = 'product_reviewed') as reviews,
        avg(events.rating) filter (where events.event_type = 'product_reviewed') as rating
    from {{ ref('stg_product_events') }} as events
    where
        events.product_id is not null
        and not events.is_bot
        and not exists (
            select 1 from runaways
            where
                events.visitor_id = runaways.visitor_id
                and events.occurred_at between runaways.started_at and runaways.ended_at
        )
    group by 1, 2
),

-- a refund takes back from an order's lines in the shares in which they were sold
shares as (
    select
        bookings.event_id,
        bookings.kind,
        bookings.booked_on,
        items.order_id,
        items.line_number,
        items.product_id,
        items.quantity,
        {{ allocated_cents(
            'bookings.cents_before', 'items.weight', 'items.weights', 'bookings.event_id', 'items.line_number'
        ) }} as cents_before,
        {{ allocated_cents(
            'bookings.cents_after', 'items.weight', 'items.weights', 'bookings.event_id', 'items.line_number'
        ) }} as cents_after
    from {{ ref('fct_bookings') }} as bookings
    inner join {{ ref('fct_order_items') }} as items on bookings.order_id = items.order_id
),

sold as (
    select
        product_id,
        booked_on as day,
        coalesce(sum(quantity) filter (where kind = 'purchase'), 0) as purchases,
        sum(case when kind = 'purchase' then cents_after - cents_before else cents_before - cents_after end) / 100
            as revenue
    from shares
    where product_id is not null
    group by product_id, booked_on
),

joined as (
    select
        product_id,
        day,
        coalesce(interactions.views, 0) as views,
        coalesce(interactions.carts, 0) as carts,
        coalesce(sold.purchases, 0) as purchases,
        coalesce(sold.revenue, 0) as revenue,
        coalesce(interactions.reviews, 0) as reviews,
        interactions.rating
    from interactions
    full join sold using (product_id, day)
),

final as (
    select
        joined.product_id,
        joined.day,
        products.name,
        products.category,
        joined.views,
        joined.carts,
        joined.purchases::bigint as purchases,
        {{ money('joined.revenue') }} as revenue,
        joined.reviews,
        joined.rating,
        run.copied_at as dbt_updated_at
    from joined
    inner join products on joined.product_id = products.product_id
    cross join run
)

select * from final
