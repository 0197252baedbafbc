{# Days and months are UTC whatever the connection's time zone is. #}

{# The UTC day of an instant, as a date. #}
{% macro utc_date(instant) -%}
    (({{ instant }}) at time zone 'UTC')::date
{%- endmacro %}

{# The UTC minute of an instant, as a timestamp; of a time zone that is named, Postgres takes it into an index. #}
{% macro utc_minute(instant) -%}
    (date_trunc('minute', ({{ instant }}) at time zone 'UTC'))
{%- endmacro %}

{# The first day of the UTC day or month that an instant is in, as a date; `grain` is an SQL expression. #}
{% macro period_start(grain, instant) -%}
    date_trunc({{ grain }}, ({{ instant }}) at time zone 'UTC')::date
{%- endmacro %}

{# The instant at which a date begins in UTC. #}
{% macro utc_instant(day) -%}
    (({{ day }})::timestamp at time zone 'UTC')
{%- endmacro %}

{# Whole months from one first of month to another. #}
{% macro months_between(earlier, later) -%}
    (
        12 * (extract(year from {{ later }}) - extract(year from {{ earlier }}))
        + extract(month from {{ later }}) - extract(month from {{ earlier }})
    )::integer
{%- endmacro %}
