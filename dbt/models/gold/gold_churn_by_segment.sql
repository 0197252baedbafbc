with
run as (
    select * from {{ ref('stg_run') }}
),

active as (
    select
        customer_id,
        period_start as month
    from {{ ref('int_active_customers') }}
    where grain = 'month'
),

customers as (
    select * from {{ ref('dim_customers') }}
),

rfm as (
    select * from {{ ref('int_rfm_by_month') }}
),

months as (
    select * from {{ ref('int_periods') }}
    where grain = 'month'
),

-- who was active in the month before, and whether they are in this one
followed as (
    select
        months.period_start as month,
        months.is_complete,
        earlier.customer_id,
        active.customer_id is null as is_churned
    from months
    inner join active as earlier on months.period_start = (earlier.month + interval '1 month')::date
    left join active on months.period_start = active.month and earlier.customer_id = active.customer_id
),

segmented as (
    select
        followed.month,
        followed.is_complete,
        followed.is_churned,
        dimensions.dimension,
        coalesce(dimensions.value, '(none)') as value
    from followed
    inner join customers on followed.customer_id = customers.customer_id
    left join rfm on followed.month = rfm.month and followed.customer_id = rfm.customer_id
    cross join lateral (
        values
        ('country', customers.country),
        ('channel', customers.acquisition_channel),
        ('rfm_segment', rfm.segment)
    ) as dimensions (dimension, value)
),

counted as (
    select
        month,
        is_complete,
        dimension,
        value,
        count(*) as customers_before,
        count(*) filter (where is_churned) as customers_churned
    from segmented
    group by month, is_complete, dimension, value
),

final as (
    select
        counted.month,
        counted.is_complete,
        counted.dimension,
        counted.value,
        counted.customers_before,
        counted.customers_churned,
        {{ ratio('counted.customers_churned', 'counted.customers_before') }} as customer_churn_rate,
        run.copied_at as dbt_updated_at
    from counted
    cross join run
)

select * from final
