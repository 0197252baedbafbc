with
weights as (
    select * from {{ ref('payment_risk_weights') }}
),

totals as (
    select * from {{ ref('int_customer_totals') }}
    where orders > 0
),

orders as (
    select * from {{ ref('fct_orders') }}
),

paid as (
    select
        customer_id,
        max(purchased)::double precision as largest_order,
        count(distinct payment_method) as payment_methods,
        count(distinct country) as countries
    from orders
    group by customer_id
),

days as (
    select
        customer_id,
        count(*) as orders
    from orders
    group by customer_id, ordered_on
),

busiest_days as (
    select
        customer_id,
        max(orders) as orders_a_day
    from days
    group by customer_id
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
        features.feature,
        features.value
    from totals
    inner join paid on totals.customer_id = paid.customer_id
    inner join busiest_days on totals.customer_id = busiest_days.customer_id
    cross join lateral (
        values
        ('refund_share', coalesce({{ ratio('totals.refunded', 'totals.purchased') }}, 0)::double precision),
        ('largest_order', ln(1 + paid.largest_order)),
        ('orders_a_day', busiest_days.orders_a_day::double precision),
        ('payment_methods', paid.payment_methods::double precision),
        ('countries', paid.countries::double precision)
    ) as features (feature, value)
),

medians as (
    select
        peers,
        feature,
        percentile_cont(0.5) within group (order by value) as median
    from measured
    group by peers, feature
),

spreads as (
    select
        measured.peers,
        measured.feature,
        percentile_cont(0.5) within group (order by abs(measured.value - medians.median)) as mad
    from measured
    inner join medians on measured.peers = medians.peers and measured.feature = medians.feature
    group by measured.peers, measured.feature
),

-- 1.4826 MAD is the standard deviation of a normal distribution; six of them above the median are a score of 1
scored as (
    select
        measured.customer_id,
        measured.peers,
        measured.feature,
        weights.weight,
        least(
            1,
            greatest(
                0,
                (measured.value - medians.median)
                / greatest(1.4826 * spreads.mad, weights.smallest_spread::double precision)
                / 6
            )
        ) as score
    from measured
    inner join medians on measured.peers = medians.peers and measured.feature = medians.feature
    inner join spreads on measured.peers = spreads.peers and measured.feature = spreads.feature
    inner join weights on measured.feature = weights.feature
),

final as (
    select
        customer_id,
        peers,
        max(score) filter (where feature = 'refund_share') as refund_share_score,
        max(score) filter (where feature = 'largest_order') as largest_order_score,
        max(score) filter (where feature = 'orders_a_day') as orders_a_day_score,
        max(score) filter (where feature = 'payment_methods') as payment_methods_score,
        max(score) filter (where feature = 'countries') as countries_score,
        -- to nine digits: in which order the parts are added is the database's
        round(sum(weight * score::numeric), 9)::double precision as payment_risk
    from scored
    group by customer_id, peers
)

select * from final
