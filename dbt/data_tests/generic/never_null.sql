{# No row lacks a value in any of the columns: one pass over the table, whatever the number of columns. #}
{% test never_null(model, columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where
    {{ columns | join(' is null\n    or ') }} is null
{% endtest %}
