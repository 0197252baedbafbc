{{ config(meta={'changed': ['copied', 'copied_at']}) }}

select
    event_id,
    occurred_at,
    transaction_type,
    order_id,
    subscription_id,
    customer_id,
    amount,
    currency,
    amount_base,
    category,
    items,
    plan,
    monthly_amount,
    monthly_amount_base,
    payment_method,
    discount,
    coupon,
    rate,
    country,
    copied_at
from {{ source('snapshot', 'snapshot_transactions') }}
