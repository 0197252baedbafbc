with
catalogue as (
    select * from {{ ref('stg_products') }}
),

-- what is sold or looked at without a catalogue entry is a product too
seen as (
    select product_id from catalogue
    union
    select product_id from {{ ref('fct_order_items') }}
    where product_id is not null
    union
    select product_id from {{ ref('int_product_days') }}
),

-- what it was sold as the last time, where the catalogue does not say
sold_as as (
    select distinct on (items.product_id)
        items.product_id,
        items.category
    from {{ ref('fct_order_items') }} as items
    left join catalogue on items.product_id = catalogue.product_id
    where items.product_id is not null and catalogue.category is null
    order by items.product_id asc, items.ordered_on desc, items.order_id asc, items.line_number asc
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
