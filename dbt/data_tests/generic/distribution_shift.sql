{#
    How what `bucket` gives is shared out in the last 24 hours against the 14 days before: a population stability index
    (the sum of (p - q) ln (p / q) over buckets) above `most`. Up to 0.1 is taken for no shift, above 0.25 for a large one.
    Silent where either has fewer than `least` rows.
#}
{% test distribution_shift(model, instant, bucket, where_clause='true', most=0.25, least=200) %}
with
run as (
    select * from {{ ref('stg_run') }}
),

counted as (
    select
        {{ bucket }} as bucket,
        count(*) filter (where source.{{ instant }} >= run.as_of - interval '24 hours') as found_now,
        count(*) filter (where source.{{ instant }} < run.as_of - interval '24 hours') as found_before
    from {{ model }} as source
    cross join run
    where
        source.{{ instant }} >= run.as_of - interval '360 hours'
        and {{ where_clause }}
    group by 1
),

-- a share of nothing has no logarithm: half a row stands for none
shares as (
    select
        bucket,
        greatest(found_now, 0.5) / nullif(sum(found_now) over (), 0) as share_now,
        greatest(found_before, 0.5) / nullif(sum(found_before) over (), 0) as share_before,
        sum(found_now) over () as rows_now,
        sum(found_before) over () as rows_before
    from counted
),

stability as (
    select
        max(rows_now) as rows_now,
        max(rows_before) as rows_before,
        sum((share_now - share_before) * ln(share_now / share_before)) as stability_index
    from shares
)

select *
from stability
where
    rows_now >= {{ least }}
    and rows_before >= {{ least }}
    and stability_index > {{ most }}
{% endtest %}
