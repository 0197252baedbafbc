-- An order_id is sent in one purchase; more are counted once, and reported here.
{{ config(severity='warn') }}

select
    order_id,
    purchases_seen
from {{ ref('fct_orders') }}
where purchases_seen > 1
