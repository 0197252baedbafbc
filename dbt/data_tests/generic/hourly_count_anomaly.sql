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

ages as (
    select (select began from last_hour) - {{ instant }} as age
    from {{ model }}
    where
        {{ instant }} >= (select began - interval '336 hours' from last_hour)
        and {{ instant }} < (select began + interval '1 hour' from last_hour)
),

compared as (
    select
        count(*) filter (where age <= interval '0') as found,
        count(*) filter (
            where
            (age > interval '167 hours' and age <= interval '168 hours')
            or (age > interval '335 hours' and age <= interval '336 hours')
        ) / 2.0 as mean
    from ages
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
