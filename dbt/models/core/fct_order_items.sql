{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
orders as (
    select * from {{ ref('fct_orders') }}
    where {{ changed('customer', 'customer_id') }}
),

lines as (
    select
        orders.order_id,
        orders.customer_id,
        orders.ordered_on,
        (100 * orders.purchased)::numeric(24, 0) as order_cents,
        items.line_number,
        items.item ->> 'product_id' as product_id,
        coalesce(items.item ->> 'category', 'unknown') as category,
        coalesce((items.item ->> 'quantity')::numeric, 1) as quantity,
        coalesce((items.item ->> 'unit_price')::numeric, 0) as unit_price
    from orders
    cross join lateral jsonb_array_elements(
        case when jsonb_typeof(orders.items) = 'array' then orders.items else '[]' end
    ) with ordinality as items (item, line_number)
),

-- a line's weight is its price in ten-thousandths; lines that are all free share alike
weighted as (
    select
        *,
        case
            when sum(quantity * unit_price) over (partition by order_id) = 0 then 1
            else round(10000 * quantity * unit_price)
        end as weight
    from lines
),

summed as (
    select
        *,
        sum(weight) over (partition by order_id) as weights
    from weighted
),

final as (
    select
        order_id,
        line_number,
        customer_id,
        ordered_on,
        product_id,
        category,
        quantity::bigint as quantity,
        unit_price,
        weight,
        weights,
        ({{ allocated_cents('order_cents', 'weight', 'weights', 'order_id', 'line_number') }} / 100)::numeric(18, 2)
            as purchased
    from summed
)

select * from final
