{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
events as (
    select
        customer_id,
        event_id,
        occurred_at,
        country_written,
        marketing_opt_in_written,
        case event_type when 'signup' then false when 'account_deleted' then true end as deletion_written
    from {{ ref('stg_customer_events') }}
    where {{ changed('customer', 'customer_id') }}
),

-- as in the profile, each field is written on its own, and what an event does not name stays
numbered as (
    select
        *,
        count(country_written) over past as countries_written,
        count(marketing_opt_in_written) over past as marketing_opt_ins_written,
        count(deletion_written) over past as deletions_written,
        lead(occurred_at) over past as next_at
    from events
    window past as (partition by customer_id order by occurred_at, event_id)
),

states as (
    select
        customer_id,
        occurred_at,
        next_at,
        first_value(country_written) over (
            partition by customer_id, countries_written order by occurred_at, event_id
        ) #>> '{}' as country,
        (
            first_value(marketing_opt_in_written) over (
                partition by customer_id, marketing_opt_ins_written order by occurred_at, event_id
            ) #>> '{}'
        )::boolean as marketing_opt_in,
        coalesce(
            first_value(deletion_written) over (
                partition by customer_id, deletions_written order by occurred_at, event_id
            ),
            false
        ) as is_deleted
    from numbered
),

-- of events in one instant, what holds after the last is what held
instants as (
    select
        *,
        lag(is_deleted) over life as is_deleted_before,
        lag(country) over life as country_before,
        lag(marketing_opt_in) over life as marketing_opt_in_before
    from states
    where next_at is distinct from occurred_at
    window life as (partition by customer_id order by occurred_at)
),

changes as (
    select * from instants
    where
        is_deleted is distinct from is_deleted_before
        or country is distinct from country_before
        or marketing_opt_in is distinct from marketing_opt_in_before
),

final as (
    select
        customer_id,
        occurred_at as valid_from,
        lead(occurred_at) over life as valid_to,
        lead(occurred_at) over life is null as is_current,
        country,
        marketing_opt_in,
        is_deleted
    from changes
    window life as (partition by customer_id order by occurred_at)
)

select * from final
