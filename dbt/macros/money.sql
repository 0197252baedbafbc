{# An amount of money to the cent, typed as all money in gold is. #}
{% macro money(amount) -%}
    round({{ amount }}, 2)::numeric(18, 2)
{%- endmacro %}

{# A ratio; null when there is nothing to divide by. #}
{% macro ratio(numerator, denominator) -%}
    ({{ numerator }})::numeric / nullif({{ denominator }}, 0)
{%- endmacro %}

{#
    Share out `cents` (a whole number, at least 0) by largest remainder, so that the shares sum to it exactly.
    `weight` and `weights` are whole numbers, `weights` the sum over `partition`; ties go by `tie_order`.
#}
{% macro allocated_cents(cents, weight, weights, partition, tie_order) -%}
    (
        div({{ cents }} * {{ weight }}, {{ weights }})
        + case
            when
                row_number() over (
                    partition by {{ partition }}
                    order by mod({{ cents }} * {{ weight }}, {{ weights }}) desc, {{ tie_order }}
                )
                <= {{ cents }} - sum(div({{ cents }} * {{ weight }}, {{ weights }})) over (partition by {{ partition }})
                then 1
            else 0
        end
    )
{%- endmacro %}
