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

refunds as (
    select * from {{ ref('stg_transactions') }}
    where transaction_type = 'refund' and {{ changed('customer', 'customer_id') }}
),

booked as (
    select
        event_id,
        'purchase' as kind,
        order_id,
        customer_id,
        ordered_at as booked_at,
        purchased as amount,
        category
    from orders
    union all
    select
        refunds.event_id,
        'refund' as kind,
        refunds.order_id,
        refunds.customer_id,
        refunds.occurred_at as booked_at,
        -{{ money('refunds.amount_base') }} as amount,
        coalesce(orders.category, refunds.category, 'unknown') as category
    from refunds
    left join orders on refunds.order_id = orders.order_id
),

final as (
    select
        event_id,
        kind,
        order_id,
        customer_id,
        booked_at,
        {{ utc_date('booked_at') }} as booked_on,
        amount,
        category,
        -- in whole cents, within the order and kind: what was booked before this one, and with it
        (100 * sum(abs(amount)) over steps)::numeric(24, 0) - (100 * abs(amount))::numeric(24, 0) as cents_before,
        (100 * sum(abs(amount)) over steps)::numeric(24, 0) as cents_after
    from booked
    window steps as (partition by order_id, kind order by booked_at, event_id rows unbounded preceding)
)

select * from final
