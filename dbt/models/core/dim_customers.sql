{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
profiles as (
    select * from {{ ref('stg_customers') }}
    where {{ changed('customer', 'customer_id') }}
),

visits as (
    select * from {{ ref('fct_sessions') }}
    where customer_id is not null and {{ changed('customer', 'customer_id') }}
),

-- the topics of facts and profiles are written by different workers: a fact can be there before its profile
seen as (
    select
        customer_id,
        first_seen_at as seen_at
    from profiles
    union all
    select
        customer_id,
        occurred_at as seen_at
    from {{ ref('stg_transactions') }}
    where {{ changed('customer', 'customer_id') }}
    union all
    select
        customer_id,
        occurred_at as seen_at
    from {{ ref('stg_customer_events') }}
    where {{ changed('customer', 'customer_id') }}
    union all
    select
        customer_id,
        started_at as seen_at
    from visits
),

customers as (
    select
        customer_id,
        min(seen_at) as first_seen_at
    from seen
    group by customer_id
),

first_touches as (
    select distinct on (customer_id)
        customer_id,
        channel,
        campaign,
        country
    from visits
    order by customer_id, started_at, session_id
),

final as (
    select
        customers.customer_id,
        coalesce(profiles.created_at, customers.first_seen_at) as created_at,
        coalesce(profiles.country, first_touches.country) as country,
        coalesce(first_touches.channel, 'direct') as acquisition_channel,
        first_touches.campaign as acquisition_campaign,
        profiles.marketing_opt_in,
        coalesce(profiles.is_deleted, false) as is_deleted
    from customers
    left join profiles on customers.customer_id = profiles.customer_id
    left join first_touches on customers.customer_id = first_touches.customer_id
)

select * from final
