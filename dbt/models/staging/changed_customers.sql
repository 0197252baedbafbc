{{ config(materialized='table', unlogged=true, post_hook='analyze {{ this }}') }}
-- depends_on: {{ ref('int_stitched_sessions') }}

with recursive
affected as (
    select key as customer_id from {{ source('changes', 'affected_keys') }}
    where kind = 'customer'
    union
    select substr(key, length('customer:') + 1) as customer_id from {{ source('changes', 'affected_keys') }}
    where kind = 'person' and key like 'customer:%'
),

-- who shares an order or a subscription with one of them: whose it is may have changed
reached as (
    select customer_id from affected
    union
    select others.customer_id
    from reached
    cross join
        lateral (
            select distinct
                transactions.order_id,
                transactions.subscription_id
            from {{ ref('stg_transactions') }} as transactions
            where reached.customer_id = transactions.customer_id
        ) as own
    cross join lateral (
        select same_order.customer_id from {{ ref('stg_transactions') }} as same_order
        where own.order_id = same_order.order_id
        union
        select same_subscription.customer_id from {{ ref('stg_transactions') }} as same_subscription
        where own.subscription_id = same_subscription.subscription_id
    ) as others
)

select customer_id from reached
