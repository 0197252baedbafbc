{#
    One RFM score, 1 to 5, from a rank among all with an order: least(5, 1 + floor(5 * percent_rank)).
    `ordering` puts the best last; equals score equally.
#}
{% macro rfm_score(ordering, partition=none) -%}
    least(
        5,
        1 + floor(
            5 * percent_rank() over (
                {% if partition %}partition by {{ partition }} {% endif %}order by {{ ordering }}
            )
        )
    )::integer
{%- endmacro %}
