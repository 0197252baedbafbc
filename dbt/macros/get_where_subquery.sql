{#
    What a generic test looks at; dbt calls this for each. A build that goes on from the one before tests of large
    tables only what has changed since all tests held: what held then holds now. Full refreshes and
    `pipeline quality` test everything.
#}
{% macro get_where_subquery(relation) -%}
    {%- set conditions = [config.get('where')] if config.get('where') else [] -%}
    {%- set tested = graph.nodes.get(model.attached_node) if execute else none -%}
    {%- if tested and tests_changes_alone() and is_test_of_rows() -%}
        {%- set of_changes = tested.config.meta.get('changed') -%}
        {%- if of_changes -%}
            {%- do conditions.append(is_changed(of_changes[0], of_changes[1], relation, after='>=')) -%}
        {%- endif -%}
    {%- endif -%}
    {%- if conditions -%}
        {%- do return('(select * from ' ~ relation ~ ' where ' ~ conditions | join(' and ') ~ ') as tested') -%}
    {%- endif -%}
    {%- do return(relation) -%}
{%- endmacro %}

{# Whether tests of each row need look only at what has changed. #}
{% macro tests_changes_alone() -%}
    {%- do return(flags.WHICH == 'build' and not flags.FULL_REFRESH) -%}
{%- endmacro %}

{# The same for a test of its own: a condition on a column with the customer. #}
{% macro tested_customer(column) -%}
    {{ is_changed('customer', column, none) if tests_changes_alone() else 'true' }}
{%- endmacro %}

{# Whether a test says something of each row, or each thing, and nothing of all together. #}
{% macro is_test_of_rows() -%}
    {%- do return(
        model.test_metadata.name in (
            'unique_grain', 'unique', 'never_null', 'not_null', 'in_bounds', 'accepted_values', 'relationships'
        )
    ) -%}
{%- endmacro %}
