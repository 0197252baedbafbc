{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}],
    pre_hook="{{ keep_rows() }}",
    post_hook="{{ affect_different('month', 'month::text') }}"
) }}

with
bookings as (
    select * from {{ ref('fct_bookings') }}
    where {{ changed('customer', 'customer_id') }}
),

final as (
    select
        customer_id,
        date_trunc('month', booked_on::timestamp)::date as month,
        count(*) filter (where kind = 'purchase') as orders,
        max(booked_on) filter (where kind = 'purchase') as last_order_on,
        sum(amount) as revenue
    from bookings
    group by 1, 2
)

select * from final
