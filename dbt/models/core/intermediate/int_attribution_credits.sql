{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}, {'columns': ['booked_on']}],
    pre_hook="{{ keep_rows() }}",
    post_hook="{{ affect_different('booked_day', 'booked_on::text') }}"
) }}

with
bookings as (
    select * from {{ ref('fct_bookings') }}
    where {{ changed('customer', 'customer_id') }}
),

weights as (
    select * from {{ ref('int_attribution_weights') }}
    where {{ changed('customer', 'customer_id') }}
),

shares as (
    select
        bookings.event_id,
        bookings.kind,
        bookings.order_id,
        bookings.customer_id,
        bookings.booked_on,
        bookings.category,
        bookings.cents_before,
        bookings.cents_after,
        weights.model,
        weights.touch_number,
        weights.channel,
        weights.campaign,
        weights.weight,
        weights.weights
    from bookings
    inner join weights on bookings.order_id = weights.order_id
),

allocated as (
    select
        *,
        {{ allocated_cents('cents_before', 'weight', 'weights', 'event_id, model', 'touch_number') }}
            as credit_before,
        {{ allocated_cents('cents_after', 'weight', 'weights', 'event_id, model', 'touch_number') }}
            as credit_after
    from shares
),

final as (
    select
        event_id,
        kind,
        order_id,
        customer_id,
        booked_on,
        model,
        touch_number,
        channel,
        campaign,
        category,
        case when kind = 'purchase' then weight / weights else 0 end as conversions,
        (
            case when kind = 'purchase' then credit_after - credit_before else credit_before - credit_after end / 100
        )::numeric(18, 2) as revenue
    from allocated
)

select * from final
