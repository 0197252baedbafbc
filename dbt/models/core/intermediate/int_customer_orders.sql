{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
orders as (
    select * from {{ ref('fct_orders') }}
    where {{ changed('customer', 'customer_id') }}
),

items as (
    select * from {{ ref('fct_order_items') }}
    where {{ changed('customer', 'customer_id') }}
),

paid as (
    select
        customer_id,
        max(purchased)::numeric(18, 2) as largest_order,
        count(distinct payment_method) as payment_methods,
        count(distinct country) as countries
    from orders
    group by customer_id
),

days as (
    select
        customer_id,
        count(*) as orders
    from orders
    group by customer_id, ordered_on
),

busiest_days as (
    select
        customer_id,
        max(orders) as orders_a_day
    from days
    group by customer_id
),

favourites as (
    select distinct on (customer_id)
        customer_id,
        category
    from items
    group by customer_id, category
    order by customer_id asc, sum(purchased) desc, category asc
),

final as (
    select
        paid.customer_id,
        paid.largest_order,
        paid.payment_methods,
        paid.countries,
        busiest_days.orders_a_day,
        favourites.category as favourite_category
    from paid
    inner join busiest_days on paid.customer_id = busiest_days.customer_id
    left join favourites on paid.customer_id = favourites.customer_id
)

select * from final
