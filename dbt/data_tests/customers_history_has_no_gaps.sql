-- each interval ends where the next begins, and the last of them is the current one
with
intervals as (
    select
        *,
        lead(valid_from) over (partition by customer_id order by valid_from) as next_from
    from {{ ref('dim_customers_history') }}
)

select * from intervals
where valid_to is distinct from next_from or valid_to <= valid_from or is_current <> (valid_to is null)
