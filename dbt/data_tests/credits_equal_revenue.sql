-- For every order, booking and model the credits are the money booked, to the cent.
with
bookings as (
    select * from {{ ref('fct_bookings') }}
    where {{ tested_customer('customer_id') }}
),

models as (
    select *
    from (
        values ('first'), ('last'), ('last_non_direct'), ('linear'), ('position'), ('time_decay')
    ) as models (model)
),

credited as (
    select
        event_id,
        model,
        sum(revenue) as revenue
    from {{ ref('int_attribution_credits') }}
    where {{ tested_customer('customer_id') }}
    group by event_id, model
)

select
    bookings.event_id,
    bookings.order_id,
    models.model,
    bookings.amount,
    credited.revenue
from bookings
cross join models
left join credited on bookings.event_id = credited.event_id and models.model = credited.model
where bookings.amount is distinct from credited.revenue
