-- The lines of an order sum to the order, to the cent.
with
lines as (
    select
        order_id,
        sum(purchased) as purchased
    from {{ ref('fct_order_items') }}
    where {{ tested_customer('customer_id') }}
    group by order_id
)

select
    orders.order_id,
    orders.purchased,
    lines.purchased as lines_purchased
from {{ ref('fct_orders') }} as orders
inner join lines on orders.order_id = lines.order_id
where orders.purchased <> lines.purchased
