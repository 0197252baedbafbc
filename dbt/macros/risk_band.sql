{# The band of a risk between 0 and 1; null for null. #}
{% macro risk_band(risk) -%}
    case
        when {{ risk }} < 0.3 then 'low'
        when {{ risk }} < 0.7 then 'medium'
        when {{ risk }} is not null then 'high'
    end
{%- endmacro %}
