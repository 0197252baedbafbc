with
run as (
    select * from {{ ref('stg_run') }}
),

dates as (
    select * from {{ ref('dim_dates') }}
),

periods as (
    select
        'day' as grain,
        day as period_start,
        day - 1 as previous_start,
        day + 1 as period_end
    from dates
    union all
    select
        'month' as grain,
        month as period_start,
        (month - interval '1 month')::date as previous_start,
        (month + interval '1 month')::date as period_end
    from dates
    group by month
),

final as (
    select
        periods.grain,
        periods.period_start,
        periods.previous_start,
        periods.period_end,
        {{ utc_instant('periods.period_end') }} <= run.as_of as is_complete
    from periods
    cross join run
)

select * from final
