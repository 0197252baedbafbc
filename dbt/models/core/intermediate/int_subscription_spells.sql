{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['subscriber', 'customer_id']},
    indexes=[{'columns': ['customer_id']}],
    pre_hook="{{ affect_lapsed() }}"
) }}

with
run as (
    select * from {{ ref('stg_run') }}
),

facts as (
    select * from {{ ref('stg_transactions') }}
    where
        transaction_type in ('subscription_started', 'subscription_renewed', 'subscription_cancelled')
        and subscription_id in (
            select affected.subscription_id from {{ ref('stg_transactions') }} as affected
            where {{ changed('subscriber', 'affected.customer_id') }}
        )
),

-- every amount of a subscription is taken at the rate of its start, so that rates never look like expansion
starts as (
    select distinct on (subscription_id)
        subscription_id,
        customer_id,
        occurred_at as started_at,
        currency,
        rate,
        monthly_amount,
        monthly_amount_base
    from facts
    where transaction_type <> 'subscription_cancelled'
    order by subscription_id asc, transaction_type = 'subscription_started' desc, occurred_at asc, event_id asc
),

steps as (
    select
        *,
        lead(occurred_at) over (partition by subscription_id order by occurred_at, event_id) as next_at
    from facts
),

spells as (
    select
        steps.event_id,
        steps.subscription_id,
        starts.customer_id,
        steps.plan,
        steps.occurred_at as active_from,
        least(
            steps.next_at,
            (steps.occurred_at at time zone 'UTC' + interval '1 month 7 days') at time zone 'UTC'
        ) as ends_at,
        case
            when starts.rate is null or steps.currency <> starts.currency
                then coalesce(steps.monthly_amount_base, 0)
            when steps.monthly_amount = starts.monthly_amount then coalesce(starts.monthly_amount_base, 0)
            else coalesce(steps.monthly_amount * starts.rate, 0)
        end as monthly_amount
    from steps
    inner join starts on steps.subscription_id = starts.subscription_id
    where steps.transaction_type <> 'subscription_cancelled'
),

final as (
    select
        spells.event_id,
        spells.subscription_id,
        spells.customer_id,
        spells.plan,
        spells.active_from,
        spells.ends_at,
        -- null: still active as of the run
        case when spells.ends_at < run.as_of then spells.ends_at end as active_to,
        {{ money('spells.monthly_amount') }} as mrr
    from spells
    cross join run
    where spells.ends_at > spells.active_from and {{ changed('subscriber', 'spells.customer_id') }}
)

select * from final
