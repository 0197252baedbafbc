with
run as (
    select * from {{ ref('stg_run') }}
),

customers as (
    select * from {{ ref('int_customer_totals') }}
    where orders > 0
),

segments as (
    select * from {{ ref('rfm_segments') }}
),

scored as (
    select
        customers.customer_id,
        {{ rfm_score('%s - customers.last_order_on desc' % utc_date('run.as_of')) }} as r_score,
        {{ rfm_score('customers.orders') }} as f_score,
        {{ rfm_score('customers.revenue') }} as m_score
    from customers
    cross join run
),

final as (
    select
        scored.customer_id,
        scored.r_score,
        scored.f_score,
        scored.m_score,
        concat(scored.r_score, scored.f_score, scored.m_score) as rfm_score,
        segments.segment
    from scored
    left join segments
        on
            scored.r_score between segments.r_min and segments.r_max
            and scored.f_score between segments.f_min and segments.f_max
            and scored.m_score between segments.m_min and segments.m_max
)

select * from final
