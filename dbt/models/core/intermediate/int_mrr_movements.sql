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

steps as (
    select
        customer_id,
        active_from as stepped_at,
        mrr as step
    from spells
    union all
    select
        customer_id,
        active_to as stepped_at,
        -mrr as step
    from spells
    where active_to is not null
),

first_paid as (
    select
        customer_id,
        min(active_from) as first_paid_at
    from spells
    where mrr > 0
    group by customer_id
),

per_period as (
    select
        grains.grain,
        {{ period_start('grains.grain', 'steps.stepped_at') }} as period_start,
        steps.customer_id,
        sum(steps.step) as change
    from steps
    cross join (values ('day'), ('month')) as grains (grain)
    group by 1, 2, 3
),

balances as (
    select
        *,
        sum(change) over (partition by grain, customer_id order by period_start) as mrr_end
    from per_period
),

compared as (
    select
        balances.grain,
        balances.period_start,
        balances.customer_id,
        balances.mrr_end - balances.change as mrr_start,
        balances.mrr_end,
        first_paid.first_paid_at < {{ utc_instant('balances.period_start') }} as had_paid
    from balances
    inner join first_paid on balances.customer_id = first_paid.customer_id
    where balances.change <> 0
),

final as (
    select
        grain,
        period_start,
        customer_id,
        mrr_start,
        mrr_end,
        case
            when mrr_start = 0 and had_paid then 'reactivation'
            when mrr_start = 0 then 'new'
            when mrr_end = 0 then 'churned'
            when mrr_end > mrr_start then 'expansion'
            else 'contraction'
        end as movement
    from compared
)

select * from final
