{#
    Rows of the last complete hour against the same hour of the week, one and two weeks before: further from their
    mean than half of it, than 4 of its square roots (what chance alone does to a count), and than 10 rows. Silent until
    there are two weeks to compare with.
#}
{% test hourly_count_anomaly(model, instant) %}
with
last_hour as (
    select date_trunc('hour', as_of) - interval '1 hour' as began
    from {{ ref('stg_run') }}
),

hours as (
    select
        weeks.ago,
        last_hour.began - weeks.ago * interval '168 hours' as began
    from last_hour
    cross join (values (0), (1), (2)) as weeks (ago)
),

counted as (
    select
        hours.ago,
        count(*) as found
    from hours
    inner join {{ model }} as rows_of_hour
        on
            rows_of_hour.{{ instant }} >= hours.began
            and rows_of_hour.{{ instant }} < hours.began + interval '1 hour'
    group by hours.ago
),

compared as (
    select
        coalesce(max(found) filter (where ago = 0), 0) as found,
        coalesce(sum(found) filter (where ago > 0), 0) / 2.0 as mean
    from counted
)

select
    compared.found,
    compared.mean
from compared
where
    abs(compared.found - compared.mean) > greatest(0.5 * compared.mean, 4 * sqrt(compared.mean), 10)
    and exists (
        select 1
        from {{ model }}
        where {{ instant }} < (select began - interval '336 hours' from last_hour)
    )
{% endtest %}
