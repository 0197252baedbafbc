{# Whether a link's interval has a session: an anonymous one of its visitor that started within it. #}
{% macro is_owned(sessions, intervals) -%}
    {{ sessions }}.customer_id is null
    and {{ sessions }}.visitor_id = {{ intervals }}.anonymous_id
    and {{ sessions }}.started_at > {{ intervals }}.owned_after
    and {{ sessions }}.started_at <= {{ intervals }}.owned_until
{%- endmacro %}

{# Whose session it is: the customer's, known or by the link that owns it, else the visitor's. #}
{% macro person_of(sessions, intervals) -%}
    coalesce(
        'customer:' || coalesce({{ sessions }}.customer_id, {{ intervals }}.customer_id),
        'visitor:' || {{ sessions }}.visitor_id
    )
{%- endmacro %}

{#
    Note who had, and who will have, sessions of the visitors that were affected; and all visitors that they have
    sessions of, as a session that one has more or less changes which of the others are one visit.
#}
{% macro affect_persons() -%}
    {%- if goes_on() -%}
        insert into staging.affected_keys (kind, key)
        select 'person', person_id from {{ this }} where {{ changed('visitor', 'visitor_id') }}
        union
        select 'person', {{ person_of('sessions', 'intervals') }}
        from {{ ref('stg_sessions') }} as sessions
        left join {{ ref('int_identity_intervals') }} as intervals on {{ is_owned('sessions', 'intervals') }}
        where {{ changed('visitor', 'sessions.visitor_id') }}
        on conflict do nothing;
        insert into staging.affected_keys (kind, key)
        select 'visitor_of_person', visitor_id from {{ this }} where {{ changed('person', 'person_id') }}
        union
        select 'visitor_of_person', key from staging.affected_keys where kind = 'visitor'
        on conflict do nothing
    {%- endif -%}
{%- endmacro %}
