-- Each product and day with an event has its row; builds that go on look at those that were affected.
select distinct
    events.product_id,
    {{ utc_date('events.occurred_at') }} as day
from {{ ref('stg_product_events') }} as events
{% if tests_changes_alone() -%}
    inner join {{ source('changes', 'affected_product_days') }} as changed
        on
            events.product_id = changed.product_id
            and {{ utc_date('events.occurred_at') }} = changed.day
{%- endif %}
left join {{ ref('int_product_days') }} as days
    on
        events.product_id = days.product_id
        and {{ utc_date('events.occurred_at') }} = days.day
where
    events.product_id is not null
    and days.product_id is null
