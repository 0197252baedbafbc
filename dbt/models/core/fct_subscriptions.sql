{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['subscriber', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
spells as (
    select * from {{ ref('int_subscription_spells') }}
    where {{ changed('subscriber', 'customer_id') }}
),

facts as (
    select * from {{ ref('stg_transactions') }}
    where
        transaction_type = 'subscription_cancelled'
        and subscription_id in (select spells.subscription_id from spells)
),

cancellations as (
    select
        subscription_id,
        max(occurred_at) as cancelled_at
    from facts
    group by subscription_id
),

latest as (
    select distinct on (subscription_id)
        subscription_id,
        customer_id,
        plan,
        active_to,
        mrr
    from spells
    order by subscription_id asc, active_from desc, event_id desc
),

firsts as (
    select
        subscription_id,
        min(active_from) as started_at
    from spells
    group by subscription_id
),

final as (
    select
        latest.subscription_id,
        latest.customer_id,
        latest.plan,
        firsts.started_at,
        latest.active_to as ended_at,
        case
            when latest.active_to is null then 'active'
            when cancellations.cancelled_at >= latest.active_to then 'cancelled'
            else 'lapsed'
        end as status,
        case when latest.active_to is null then latest.mrr else 0 end::numeric(18, 2) as mrr
    from latest
    inner join firsts on latest.subscription_id = firsts.subscription_id
    left join cancellations on latest.subscription_id = cancellations.subscription_id
)

select * from final
