select
    as_of,
    copied_at,
    to_xid
from {{ source('snapshot', 'snapshot_run') }}
