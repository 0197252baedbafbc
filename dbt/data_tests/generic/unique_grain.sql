{# The columns together name a row: none is null and no combination occurs twice. #}
{% test unique_grain(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as found
from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
