{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
visits as (
    select * from {{ ref('fct_sessions') }}
    where customer_id is not null and {{ changed('customer', 'customer_id') }}
),

final as (
    select
        customer_id,
        count(*) filter (where carts > 0) as sessions_with_cart,
        count(*) filter (where carts > 0 and purchases = 0) as sessions_abandoned,
        max(started_at) as last_session_at
    from visits
    group by customer_id
)

select * from final
