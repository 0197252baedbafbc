{#
    The latest complete day's row count against the 28 days before it: further than 4 of their standard deviations
    (and than half their mean) from their mean. Silent until there are 14 days to compare with.
#}
{% test row_count_anomaly(model, day) %}
with
counted as (
    select
        {{ day }} as day,
        count(*) as found
    from {{ model }}
    group by {{ day }}
),

days as (
    select
        dates.day,
        coalesce(counted.found, 0) as found
    from {{ ref('dim_dates') }} as dates
    left join counted on dates.day = counted.day
    where dates.is_complete
),

compared as (
    select
        day,
        found,
        avg(found) over before as mean,
        stddev_samp(found) over before as deviation,
        count(*) over before as days
    from days
    window before as (order by day rows between 28 preceding and 1 preceding)
)

select *
from compared
where
    day = (select max(day) from days)
    and days >= 14
    and abs(found - mean) > greatest(4 * deviation, 0.5 * mean)
{% endtest %}
