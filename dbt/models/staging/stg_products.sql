select
    product_id,
    name,
    category,
    price,
    currency,
    stock,
    is_listed,
    listed_at
from {{ source('snapshot', 'snapshot_products') }}
