{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['month_after', 'month']},
    indexes=[{'columns': ['month']}]
) }}

with
months as (
    select period_start as month
    from {{ ref('int_periods') }}
    where grain = 'month' and {{ changed('month_after', 'period_start') }}
),

segments as (
    select * from {{ ref('rfm_segments') }}
),

booked as (
    select * from {{ ref('int_customer_months') }}
),

-- all that was booked before the month began
totals as (
    select
        months.month,
        booked.customer_id,
        sum(booked.orders) as orders,
        max(booked.last_order_on) as last_order_on,
        sum(booked.revenue) as revenue
    from months
    inner join booked on months.month > booked.month
    group by months.month, booked.customer_id
    having sum(booked.orders) > 0
),

scored as (
    select
        month,
        customer_id,
        {{ rfm_score('month - last_order_on desc', 'month') }} as r_score,
        {{ rfm_score('orders', 'month') }} as f_score,
        {{ rfm_score('revenue', 'month') }} as m_score
    from totals
),

final as (
    select
        scored.month,
        scored.customer_id,
        segments.segment
    from scored
    left join segments
        on
            scored.r_score between segments.r_min and segments.r_max
            and scored.f_score between segments.f_min and segments.f_max
            and scored.m_score between segments.m_min and segments.m_max
)

select * from final
