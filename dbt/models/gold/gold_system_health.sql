{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    on_schema_change='fail',
    meta={'changed': ['minute', 'minute']},
    indexes=[{'columns': ['service', 'minute']}]
) }}

with
run as (
    select * from {{ ref('stg_run') }}
),

logs as (
    select
        date_trunc('minute', logs.occurred_at) as minute,
        logs.service,
        count(*) as logs,
        count(*) filter (where logs.level in ('error', 'critical')) as errors,
        percentile_cont(0.5) within group (order by logs.latency_ms) as latency_ms_p50,
        percentile_cont(0.95) within group (order by logs.latency_ms) as latency_ms_p95
    from {{ ref('stg_system_logs') }} as logs
    {% if goes_on() -%}
        inner join {{ source('changes', 'affected_minutes') }} as changed
            on
                logs.service = changed.service
                and {{ utc_minute('logs.occurred_at') }} = {{ utc_minute('changed.minute') }}
    {%- endif %}
    group by 1, 2
),

final as (
    select
        logs.minute,
        logs.service,
        logs.logs,
        logs.errors,
        logs.latency_ms_p50,
        logs.latency_ms_p95,
        run.copied_at as dbt_updated_at
    from logs
    cross join run
)

select * from final
