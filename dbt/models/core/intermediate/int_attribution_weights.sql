{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'changed': ['customer', 'customer_id']},
    indexes=[{'columns': ['customer_id']}]
) }}

with
orders as (
    select
        order_id,
        customer_id,
        ordered_at
    from {{ ref('fct_orders') }}
    where {{ changed('customer', 'customer_id') }}
),

-- a refund of an order never seen has no touches, and is booked as direct
keys as (
    select
        order_id,
        customer_id,
        customer_id as visitor_customer_id,
        ordered_at
    from orders
    union all
    select
        bookings.order_id,
        min(bookings.customer_id) as customer_id,
        null as visitor_customer_id,
        null::timestamptz as ordered_at
    from {{ ref('fct_bookings') }} as bookings
    left join orders on bookings.order_id = orders.order_id
    where orders.order_id is null and {{ changed('customer', 'bookings.customer_id') }}
    group by bookings.order_id
),

visits as (
    select * from {{ ref('fct_sessions') }}
    where {{ changed('customer', 'customer_id') }}
),

touches as (
    select
        keys.order_id,
        keys.customer_id,
        coalesce(visits.channel, 'direct') as channel,
        coalesce(visits.campaign, '(none)') as campaign,
        extract(epoch from keys.ordered_at - visits.started_at) as age_seconds,
        row_number() over path as touch_number,
        count(*) over (partition by keys.order_id) as touches
    from keys
    left join visits
        on
            keys.visitor_customer_id = visits.customer_id
            and keys.ordered_at >= visits.started_at
            and keys.ordered_at <= visits.started_at + interval '720 hours'
    window path as (partition by keys.order_id order by visits.started_at, visits.session_id)
),

marked as (
    select
        *,
        coalesce(
            max(touch_number) filter (where channel <> 'direct') over (partition by order_id), touches
        ) as last_non_direct
    from touches
),

-- weights are whole numbers, so that shares are exact: of position's 5 (n - 2), 40 % are 2 (n - 2)
weighted as (
    select
        marked.order_id,
        marked.customer_id,
        models.model,
        marked.touch_number,
        marked.channel,
        marked.campaign,
        models.weight
    from marked
    cross join lateral (
        values
        ('first', case when marked.touch_number = 1 then 1 else 0 end::numeric),
        ('last', case when marked.touch_number = marked.touches then 1 else 0 end::numeric),
        ('last_non_direct', case when marked.touch_number = marked.last_non_direct then 1 else 0 end::numeric),
        ('linear', 1::numeric),
        (
            'position',
            case
                when marked.touches <= 2 then 1
                when marked.touch_number in (1, marked.touches) then 2 * (marked.touches - 2)
                else 1
            end::numeric
        ),
        -- half-life 7 days
        ('time_decay', round(1e15 * power(2::numeric, -coalesce(marked.age_seconds, 0) / 604800)))
    ) as models (model, weight)
),

final as (
    select
        *,
        sum(weight) over (partition by order_id, model) as weights
    from weighted
    where weight > 0
)

select * from final
