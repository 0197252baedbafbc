-- Each product and day with an event has its row; builds that go on look at those with new events.
select distinct
    events.product_id,
    {{ utc_date('events.occurred_at') }} as day
from {{ ref('stg_product_events') }} as events
left join {{ ref('int_product_days') }} as days
    on events.product_id = days.product_id and {{ utc_date('events.occurred_at') }} = days.day
where
    events.product_id is not null
    and days.product_id is null
    and {{ is_changed('copied', 'events.copied_at', none) if tests_changes_alone() else 'true' }}
