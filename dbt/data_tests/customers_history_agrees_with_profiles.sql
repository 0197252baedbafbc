-- A warning: profiles and facts are written by different workers, so that one can be there before the other.
-- Profiles are of now: of who was seen after as_of, they say more than the history may know.
{{ config(severity='warn') }}

select
    history.customer_id,
    history.country,
    customers.country as country_now,
    history.marketing_opt_in,
    customers.marketing_opt_in as marketing_opt_in_now,
    history.is_deleted,
    customers.is_deleted as is_deleted_now
from {{ ref('dim_customers_history') }} as history
inner join {{ ref('dim_customers') }} as customers on history.customer_id = customers.customer_id
inner join {{ ref('stg_customers') }} as profiles on history.customer_id = profiles.customer_id
cross join {{ ref('stg_run') }} as run
where
    history.is_current
    and profiles.last_seen_at < run.as_of
    and (
        -- of who names no country, dim_customers has that of the first visit
        history.country is distinct from profiles.country
        or coalesce(history.country, customers.country) is distinct from customers.country
        or history.marketing_opt_in is distinct from customers.marketing_opt_in
        or history.is_deleted <> customers.is_deleted
    )
