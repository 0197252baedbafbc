{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    on_schema_change='fail',
    meta={'changed': ['sold_day', 'day']},
    indexes=[{'columns': ['product_id', 'day']}],
    pre_hook="{{ affect_days_of_renamed() }}"
) }}

with
run as (
    select * from {{ ref('stg_run') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

interactions as (
    select * from {{ ref('int_product_days') }}
    where interactions > 0 and {{ changed('sold_day', 'day') }}
),

sold as (
    select
        product_id,
        day,
        sum(purchases) as purchases,
        sum(revenue) as revenue
    from {{ ref('int_product_bookings') }}
    where product_id is not null and {{ changed('sold_day', 'day') }}
    group by product_id, day
),

joined as (
    select
        product_id,
        day,
        coalesce(interactions.views, 0) as views,
        coalesce(interactions.carts, 0) as carts,
        coalesce(sold.purchases, 0) as purchases,
        coalesce(sold.revenue, 0) as revenue,
        coalesce(interactions.reviews, 0) as reviews,
        interactions.rating
    from interactions
    full join sold using (product_id, day)
),

final as (
    select
        joined.product_id,
        joined.day,
        products.name,
        products.category,
        joined.views,
        joined.carts,
        joined.purchases::bigint as purchases,
        {{ money('joined.revenue') }} as revenue,
        joined.reviews,
        joined.rating,
        run.copied_at as dbt_updated_at
    from joined
    inner join products on joined.product_id = products.product_id
    cross join run
)

select * from final
