{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
purchases as (
    select
        *,
        row_number() over (partition by order_id order by occurred_at, event_id) as repeat_number,
        count(*) over (partition by order_id) as purchases_seen
    from {{ ref('stg_transactions') }}
    where transaction_type = 'purchase' and {{ changed('customer', 'customer_id') }}
),

refunds as (
    select
        order_id,
        sum(amount_base) as refunded
    from {{ ref('stg_transactions') }}
    where transaction_type = 'refund' and {{ changed('customer', 'customer_id') }}
    group by order_id
),

visits as (
    select * from {{ ref('fct_sessions') }}
    where customer_id is not null and {{ changed('customer', 'customer_id') }}
),

final as (
    select
        purchases.order_id,
        purchases.event_id,
        purchases.customer_id,
        purchases.occurred_at as ordered_at,
        {{ utc_date('purchases.occurred_at') }} as ordered_on,
        row_number() over (
            partition by purchases.customer_id order by purchases.occurred_at, purchases.order_id
        ) as order_number,
        purchases.amount,
        purchases.currency,
        {{ money('purchases.amount_base') }} as purchased,
        {{ money('coalesce(refunds.refunded, 0)') }} as refunded,
        {{ money('purchases.amount_base - coalesce(refunds.refunded, 0)') }} as revenue,
        coalesce(purchases.category, 'unknown') as category,
        purchases.payment_method,
        purchases.coupon,
        purchases.discount,
        purchases.country,
        purchases.items,
        purchases.purchases_seen,
        visits.session_id
    from purchases
    left join refunds on purchases.order_id = refunds.order_id
    left join visits
        on
            purchases.customer_id = visits.customer_id
            and purchases.occurred_at between visits.started_at and visits.ended_at
    where purchases.repeat_number = 1
)

select * from final
