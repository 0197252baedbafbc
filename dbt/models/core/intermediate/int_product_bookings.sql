{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}, {'columns': ['product_id', 'day']}],
    pre_hook="{{ keep_rows() }}",
    post_hook="{{ affect_different('sold_day', 'product_id, day') }}"
) }}

with
bookings as (
    select * from {{ ref('fct_bookings') }}
    where {{ changed('customer', 'customer_id') }}
),

items as (
    select * from {{ ref('fct_order_items') }}
    where {{ changed('customer', 'customer_id') }}
),

-- a refund takes back from an order's lines in the shares in which they were sold
shares as (
    select
        bookings.event_id,
        bookings.kind,
        bookings.booked_on,
        bookings.customer_id,
        items.line_number,
        items.product_id,
        items.quantity,
        {{ allocated_cents(
            'bookings.cents_before', 'items.weight', 'items.weights', 'bookings.event_id', 'items.line_number'
        ) }} as cents_before,
        {{ allocated_cents(
            'bookings.cents_after', 'items.weight', 'items.weights', 'bookings.event_id', 'items.line_number'
        ) }} as cents_after
    from bookings
    inner join items on bookings.order_id = items.order_id
),

final as (
    select
        event_id,
        line_number,
        customer_id,
        product_id,
        booked_on as day,
        case when kind = 'purchase' then quantity else 0 end as purchases,
        (
            case when kind = 'purchase' then cents_after - cents_before else cents_before - cents_after end / 100
        )::numeric(18, 2) as revenue
    from shares
)

select * from final
