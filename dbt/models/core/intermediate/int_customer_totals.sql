{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
bookings as (
    select * from {{ ref('fct_bookings') }}
    where {{ changed('customer', 'customer_id') }}
),

order_days as (
    select
        customer_id,
        booked_on,
        count(*) as orders,
        sum(amount) as purchased,
        min(booked_at) as first_order_at,
        max(booked_at) as last_order_at,
        row_number() over (partition by customer_id order by booked_on) as day_number
    from bookings
    where kind = 'purchase'
    group by customer_id, booked_on
),

ordered as (
    select
        customer_id,
        sum(orders)::bigint as orders,
        min(first_order_at) as first_order_at,
        max(last_order_at) as last_order_at,
        min(booked_on) as first_order_on,
        max(booked_on) as last_order_on,
        count(*) filter (where day_number > 1) as repeat_order_days,
        {{ money('avg(purchased) filter (where day_number > 1)') }} as repeat_order_value
    from order_days
    group by customer_id
),

money as (
    select
        customer_id,
        sum(amount) as revenue,
        coalesce(sum(amount) filter (where kind = 'purchase'), 0) as purchased,
        coalesce(-sum(amount) filter (where kind = 'refund'), 0) as refunded
    from bookings
    group by customer_id
),

final as (
    select
        money.customer_id,
        coalesce(ordered.orders, 0) as orders,
        money.revenue,
        money.purchased,
        money.refunded,
        ordered.first_order_at,
        ordered.last_order_at,
        ordered.first_order_on,
        ordered.last_order_on,
        ordered.repeat_order_days,
        ordered.last_order_on - ordered.first_order_on as order_span_days,
        ordered.repeat_order_value
    from money
    left join ordered on money.customer_id = ordered.customer_id
)

select * from final
