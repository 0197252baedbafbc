{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['visitor', 'anonymous_id']},
    indexes=[{'columns': ['anonymous_id']}]
) }}

with
identities as (
    select * from {{ ref('stg_identities') }}
    where {{ changed('visitor', 'anonymous_id') }}
),

-- a link owns the time since the link before it: a session belongs to the first link at or after its start
owned as (
    select
        anonymous_id,
        customer_id,
        lag(seen_at, 1, '-infinity'::timestamptz) over links as owned_after,
        case when lead(seen_at) over links is null then 'infinity'::timestamptz else seen_at end as owned_until
    from identities
    window links as (partition by anonymous_id order by seen_at, customer_id)
),

changes as (
    select
        anonymous_id,
        customer_id,
        owned_after,
        owned_until,
        coalesce(
            customer_id <> lag(customer_id) over (partition by anonymous_id order by owned_until), true
        ) as is_change
    from owned
    where owned_until > owned_after
),

runs as (
    select
        anonymous_id,
        customer_id,
        owned_after,
        owned_until,
        count(*) filter (where is_change) over (
            partition by anonymous_id order by owned_until
        ) as run_number
    from changes
),

final as (
    select
        anonymous_id,
        customer_id,
        min(owned_after) as owned_after,
        max(owned_until) as owned_until
    from runs
    group by anonymous_id, customer_id, run_number
)

select * from final
