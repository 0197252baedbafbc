{% set features = ['refund_share', 'largest_order', 'orders_a_day', 'payment_methods', 'countries'] %}

with
totals as (
    select * from {{ ref('int_customer_totals') }}
    where orders > 0
),

orders as (
    select * from {{ ref('int_customer_orders') }}
),

weights as (
    select
    {% for feature in features -%}
            max(weight) filter (where feature = '{{ feature }}') as {{ feature }}_weight,
            max(smallest_spread) filter (where feature = '{{ feature }}')::double precision as {{ feature }}_smallest
            {{- ',' if not loop.last }}
    {% endfor %}
    from {{ ref('payment_risk_weights') }}
),

-- the more orders, the more of everything: peers are those with about as many
measured as (
    select
        totals.customer_id,
        case
            when totals.orders = 1 then '1'
            when totals.orders <= 4 then '2-4'
            when totals.orders <= 9 then '5-9'
            else '10+'
        end as peers,
        coalesce({{ ratio('totals.refunded', 'totals.purchased') }}, 0)::double precision as refund_share,
        ln(1 + orders.largest_order::double precision) as largest_order,
        orders.orders_a_day::double precision as orders_a_day,
        orders.payment_methods::double precision as payment_methods,
        orders.countries::double precision as countries
    from totals
    inner join orders on totals.customer_id = orders.customer_id
),

medians as (
    select
        peers,
    {% for feature in features -%}
        percentile_cont(0.5) within group (order by {{ feature }}) as {{ feature }}{{ ',' if not loop.last }}
    {% endfor %}
    from measured
    group by peers
),

-- median absolute deviations
spreads as (
    select
        measured.peers,
    {% for feature in features -%}
        percentile_cont(0.5) within group (
            order by abs(measured.{{ feature }} - medians.{{ feature }})
        ) as {{ feature }}{{ ',' if not loop.last }}
    {% endfor %}
    from measured
    inner join medians on measured.peers = medians.peers
    group by measured.peers
),

-- 1.4826 MAD is the standard deviation of a normal distribution; six of them above the median are a score of 1
scored as (
    select
        measured.customer_id,
        measured.peers,
    {% for feature in features -%}
        weights.{{ feature }}_weight,
        least(
            1,
            greatest(
                0,
                (measured.{{ feature }} - medians.{{ feature }})
                / greatest(1.4826 * spreads.{{ feature }}, weights.{{ feature }}_smallest)
                / 6
            )
        ) as {{ feature }}_score{{ ',' if not loop.last }}
    {% endfor %}
    from measured
    inner join medians on measured.peers = medians.peers
    inner join spreads on measured.peers = spreads.peers
    cross join weights
),

final as (
    select
        customer_id,
        peers,
        {% for feature in features -%}
            {{ feature }}_score,
        {% endfor -%}
        round(
            {% for feature in features -%}
                {{ feature }}_weight * {{ feature }}_score::numeric{{ ' +' if not loop.last }}
            {% endfor -%}
            , 9
        )::double precision as payment_risk
    from scored
)

select * from final
