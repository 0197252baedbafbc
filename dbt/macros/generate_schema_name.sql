{#
    Schemas are named exactly as configured: gold, not <target>_gold. With the variable `aside` what belongs into gold is
    built in gold_next, where no reader looks: `pipeline gold` publishes it from there once all tests hold.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set name = (custom_schema_name or target.schema) | trim -%}
    {{ 'gold_next' if name == 'gold' and var('aside') else name }}
{%- endmacro %}
