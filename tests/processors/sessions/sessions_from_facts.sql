-- The rule of sessions over all facts, by window functions: what `silver_sessions` must be (but for its ids).
WITH facts AS (
    SELECT
        event_id, occurred_at, visitor_id, customer_id, event_type AS kind, 0::numeric AS revenue,
        page_url, referrer, channel, campaign, country, device, browser, is_bot
    FROM silver.silver_product_events
    WHERE event_type NOT IN ('product_listed', 'product_delisted')
    UNION ALL
    SELECT
        event_id, occurred_at, visitor_id, customer_id, transaction_type,
        CASE transaction_type WHEN 'purchase' THEN amount_base WHEN 'refund' THEN -amount_base ELSE 0 END,
        page_url, referrer, channel, campaign, country, device, browser, is_bot
    FROM silver.silver_transactions
    UNION ALL
    SELECT
        event_id, occurred_at, visitor_id, customer_id, event_type, 0,
        page_url, referrer, channel, campaign, country, device, browser, is_bot
    FROM silver.silver_customer_events
),

stepped AS (
    SELECT
        *,
        coalesce(occurred_at - lag(occurred_at) OVER in_order > interval '30 minutes', true) AS begins
    FROM facts
    WINDOW in_order AS (PARTITION BY visitor_id ORDER BY occurred_at, event_id)
),

numbered AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER in_order AS number
    FROM stepped
    WINDOW in_order AS (PARTITION BY visitor_id ORDER BY occurred_at, event_id)
),

ranked AS (
    SELECT *, row_number() OVER (PARTITION BY visitor_id, number ORDER BY occurred_at, event_id) AS place
    FROM numbered
),

last_pages AS (
    SELECT DISTINCT ON (visitor_id, number) visitor_id, number, page_url
    FROM ranked
    WHERE page_url IS NOT NULL
    ORDER BY visitor_id, number, place DESC
),

cut AS (
    SELECT
        visitor_id,
        number,
        max(customer_id) AS customer_id,
        min(occurred_at) AS started_at,
        max(occurred_at) AS ended_at,
        count(*) AS events,
        count(*) FILTER (WHERE kind = 'page_viewed') AS page_views,
        count(*) FILTER (WHERE kind = 'product_viewed') AS products_viewed,
        count(*) FILTER (WHERE kind = 'cart_added') AS carts,
        count(*) FILTER (WHERE kind = 'product_searched') AS searches,
        count(*) FILTER (WHERE kind = 'checkout_started') AS checkouts,
        count(*) FILTER (WHERE kind = 'purchase') AS purchases,
        sum(revenue) AS revenue_base,
        bool_or(is_bot) AS seen_bot
    FROM ranked
    GROUP BY visitor_id, number
)

SELECT
    cut.visitor_id,
    cut.customer_id,
    cut.started_at,
    cut.ended_at,
    cut.events,
    cut.page_views,
    cut.products_viewed,
    cut.carts,
    cut.searches,
    cut.checkouts,
    cut.purchases,
    cut.revenue_base,
    begun.channel,
    begun.campaign,
    begun.page_url AS landing_page,
    last_pages.page_url AS exit_page,
    begun.referrer,
    begun.country,
    begun.device,
    begun.browser,
    cut.seen_bot
    OR (cut.events >= 50 AND cut.events > 2 * extract(EPOCH FROM cut.ended_at - cut.started_at)) AS is_bot,
    cut.ended_at - cut.started_at > interval '24 hours' OR cut.events > 10000 AS is_runaway,
    cut.events > 10000 AS events_approximate
FROM cut
INNER JOIN ranked AS begun ON cut.visitor_id = begun.visitor_id AND cut.number = begun.number AND begun.place = 1
LEFT JOIN last_pages ON cut.visitor_id = last_pages.visitor_id AND cut.number = last_pages.number
