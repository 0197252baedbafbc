with
run as (
    select * from {{ ref('stg_run') }}
),

spans as (
    select * from {{ ref('int_active_spans') }}
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
        spans.customer_id,
        coalesce(spans.last_period < months.period_start, false) as is_churned
    from spans
    inner join months
        on
            spans.first_period <= months.previous_start
            and coalesce(spans.last_period, 'infinity') >= months.previous_start
),

combined as (
    select
        followed.month,
        followed.is_complete,
        customers.country,
        customers.acquisition_channel,
        rfm.segment,
        count(*) as customers_before,
        count(*) filter (where followed.is_churned) as customers_churned
    from followed
    inner join customers on followed.customer_id = customers.customer_id
    left join rfm on followed.month = rfm.month and followed.customer_id = rfm.customer_id
    group by
        followed.month,
        followed.is_complete,
        customers.country,
        customers.acquisition_channel,
        rfm.segment
),

segmented as (
    select
        combined.month,
        combined.is_complete,
        combined.customers_before,
        combined.customers_churned,
        dimensions.dimension,
        coalesce(dimensions.value, '(none)') as value
    from combined
    cross join
        lateral (
            values
            ('country', combined.country),
            ('channel', combined.acquisition_channel),
            ('rfm_segment', combined.segment)
        ) as dimensions (dimension, value)
),

counted as (
    select
        month,
        is_complete,
        dimension,
        value,
        sum(customers_before)::bigint as customers_before,
        sum(customers_churned)::bigint as customers_churned
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
