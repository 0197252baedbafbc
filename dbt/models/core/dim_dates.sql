with
run as (
    select * from {{ ref('stg_run') }}
),

days as (
    select {{ utc_date('min(occurred_at)') }} as day from {{ ref('stg_transactions') }}
    union all
    select {{ utc_date('min(started_at)') }} as day from {{ ref('stg_sessions') }}
    union all
    select min(spend_date) as day from {{ ref('marketing_spend') }}
),

-- as_of itself is not seen, so a run as of midnight ends with the day before
bounds as (
    select
        min(days.day) as first_day,
        {{ utc_date("run.as_of - interval '1 microsecond'") }} as last_day
    from days
    cross join run
    group by run.as_of
),

final as (
    select
        series.day::date as day,
        date_trunc('month', series.day)::date as month,
        extract(isodow from series.day)::integer as weekday,
        {{ utc_instant("series.day::date + 1") }} <= run.as_of as is_complete
    from bounds
    cross join run
    cross join generate_series(
        bounds.first_day::timestamp, bounds.last_day::timestamp, interval '1 day'
    ) as series (day)
)

select * from final
