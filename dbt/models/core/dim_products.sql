with
catalogue as (
    select * from {{ ref('stg_products') }}
),

items as (
    select * from {{ ref('fct_order_items') }}
),

-- what is sold or looked at without a catalogue entry is a product too
seen as (
    select product_id from catalogue
    union
    select product_id from items
    where product_id is not null
    union
    select product_id from {{ ref('int_product_days') }}
),

sold_as as (
    select distinct on (product_id)
        product_id,
        category
    from items
    where product_id is not null
    order by product_id asc, ordered_on desc, order_id asc, line_number asc
),

final as (
    select
        seen.product_id,
        catalogue.name,
        coalesce(catalogue.category, sold_as.category, 'unknown') as category,
        catalogue.price,
        catalogue.currency,
        catalogue.stock,
        coalesce(catalogue.is_listed, false) as is_listed,
        catalogue.listed_at
    from seen
    left join catalogue on seen.product_id = catalogue.product_id
    left join sold_as on seen.product_id = sold_as.product_id
)

select * from final
