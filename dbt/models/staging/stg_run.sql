with
source as (
    select * from {{ source('snapshot', 'snapshot_run') }}
),

final as (
    select
        as_of,
        copied_at,
        to_xid
    from source
)

select * from final
