with
run as (
    select * from {{ ref('stg_run') }}
),

logs as (
    select
        date_trunc('minute', occurred_at) as minute,
        service,
        count(*) as logs,
        count(*) filter (where level in ('error', 'critical')) as errors,
        percentile_cont(0.5) within group (order by latency_ms) as latency_ms_p50,
        percentile_cont(0.95) within group (order by latency_ms) as latency_ms_p95
    from {{ ref('stg_system_logs') }}
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
