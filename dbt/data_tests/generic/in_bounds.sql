{#
    Values that are there lie between their column's bounds, inclusive: `bounds` is {column: [least, greatest]},
    null where a side is open.
#}
{% test in_bounds(model, bounds) %}
select {{ bounds | join(', ') }}
from {{ model }}
where
    false
    {%- for column, ends in bounds.items() %}
    {%- if ends[0] is not none %}
    or {{ column }} < {{ ends[0] }}
    {%- endif %}
    {%- if ends[1] is not none %}
    or {{ column }} > {{ ends[1] }}
    {%- endif %}
    {%- endfor %}
{% endtest %}
