with
source as (
    select * from {{ source('snapshot', 'snapshot_identities') }}
),

final as (
    select
        anonymous_id,
        customer_id,
        seen_at
    from source
)

select * from final
