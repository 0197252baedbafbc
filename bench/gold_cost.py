"""What a run of gold costs after a few new facts, against a full refresh.

    .venv/bin/python -m bench.gold_cost --facts 5000000

It starts Postgres in a home that is thrown away, writes two years of history of a shop to silver (half of the
facts are product events, a fifth are logs, a seventh transactions), and builds gold: from nothing, and then
again and again after so many new facts as are `--share` of the history, most of them of the last hour, some
late by up to 30 days. Both kinds of run end with all tests. What is printed are seconds, and those of dbt's
slowest steps.
"""

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.drains import stopped_platform
from pipeline.gold.build import GoldRun, build_gold
from sinks.writers.facts_sql import touched_by

FACTS_A_CUSTOMER: Final = 50
SHARES: Final = {
    "silver_product_events": 0.62,
    "silver_system_logs": 0.20,
    "silver_transactions": 0.15,
    "silver_customer_events": 0.03,
}
SESSION_EVENTS: Final = 5
SLOWEST: Final = 12

_IDENTITY: Final = """
    md5(%(run)s || '{name}' || i)::uuid AS event_id, 0 AS content_hash, at AS occurred_at, at AS arrived_at,
    '{stream}' AS stream, 1 AS stream_epoch, 'shard' AS shard, %(run)s || i AS sequence_number,
    0 AS sub_sequence_number
"""
_COLUMNS: Final = (
    "event_id, content_hash, occurred_at, arrived_at, stream, stream_epoch, shard, sequence_number, "
    "sub_sequence_number"
)
# Most of what is new is of the last hour, one in twenty is late.
_WHEN: Final = """
    %(now)s::timestamptz - interval '1 second' * (
        CASE WHEN %(recent)s AND random() < 0.95 THEN 3600 * random()
        WHEN %(recent)s THEN 30 * 86400 * random()
        ELSE 730 * 86400 * random() END + 60
    )
"""

SESSIONS: Final = f"""
CREATE TEMP TABLE visits AS
SELECT i, n AS visitor, at, at + interval '20 minutes' * random() AS ended_at
FROM (
    SELECT i, floor(%(customers)s * 1.5 * random())::int AS n, {_WHEN} AS at
    FROM generate_series(1, %(sessions)s::int) AS i
) AS drawn;

INSERT INTO silver.silver_sessions (
    session_id, visitor_id, customer_id, started_at, ended_at, events, page_views, products_viewed, carts,
    purchases, channel, campaign, landing_page, country, device, is_bot
)
SELECT %(run)s || i, 'v' || visitor,
    CASE WHEN visitor < %(customers)s AND i %% 2 = 0 THEN 'c' || visitor END,
    at, ended_at, {SESSION_EVENTS}, 1, 3, 1, i %% 7 / 6,
    (ARRAY['direct', 'email', 'organic_search', 'paid_search', 'paid_social', 'referral'])[1 + i %% 6],
    CASE WHEN i %% 6 = 3 THEN 'spring' END, '/', (ARRAY['DE', 'FR', 'US'])[1 + visitor %% 3], 'desktop',
    i %% 100 = 0
FROM visits;

INSERT INTO ops.ops_changes (kind, key, day)
SELECT DISTINCT 'session', 'v' || visitor, (at AT TIME ZONE 'UTC')::date FROM visits;

WITH linked AS (
    INSERT INTO silver.silver_identities (anonymous_id, customer_id, seen_at)
    SELECT DISTINCT ON (visitor) 'v' || visitor, 'c' || visitor, at FROM visits
    WHERE visitor < %(customers)s AND (NOT %(recent)s OR i %% 10 = 0) ORDER BY visitor, at
    ON CONFLICT DO NOTHING RETURNING anonymous_id, customer_id
)
INSERT INTO ops.ops_changes (kind, key)
SELECT 'identity', anonymous_id FROM linked UNION SELECT 'customer', customer_id FROM linked;
"""  # noqa: S608  (texts of our own)

FACTS: Final = {
    "silver_product_events": f"""
        INSERT INTO silver.silver_product_events
            ({_COLUMNS}, visitor_id, event_type, customer_id, anonymous_id, product_id, rating)
        SELECT {_IDENTITY.format(name="p", stream="product-events")}, visitor, kind,
            NULL, visitor, 'p' || i %% 500, CASE WHEN kind = 'product_reviewed' THEN 1 + i %% 5 END
        FROM (
            SELECT number AS i, 'v' || visitor AS visitor, at + interval '1 second' * (number %% 600) AS at,
                (ARRAY['product_viewed', 'product_viewed', 'page_viewed', 'cart_added', 'product_reviewed'])
                    [1 + number %% 5] AS kind
            FROM generate_series(1, %(rows)s::int) AS number
            JOIN visits ON i = 1 + number %% (SELECT count(*) FROM visits)
        ) AS drawn
    """,  # noqa: S608  (texts of our own)
    "silver_system_logs": f"""
        INSERT INTO silver.silver_system_logs ({_COLUMNS}, service, level, message, latency_ms)
        SELECT {_IDENTITY.format(name="l", stream="system-logs")},
            (ARRAY['shop', 'checkout', 'search'])[1 + i %% 3],
            CASE WHEN i %% 50 = 0 THEN 'error' ELSE 'info' END, 'line', 100 * random()
        FROM (SELECT i, {_WHEN} AS at FROM generate_series(1, %(rows)s::int) AS i) AS drawn
    """,  # noqa: S608  (texts of our own)
    "silver_transactions": f"""
        INSERT INTO silver.silver_transactions (
            {_COLUMNS}, transaction_type, order_id, subscription_id, customer_id, amount, currency,
            amount_base, category, items, plan, monthly_amount, monthly_amount_base, payment_method, rate,
            country
        )
        SELECT {_IDENTITY.format(name="t", stream="transactions")}, kind,
            CASE WHEN kind IN ('purchase', 'refund') THEN %(run)s || 'o' || order_number END,
            CASE WHEN kind LIKE 'subscription%%' THEN 'c' || customer END, 'c' || customer,
            amount, 'USD', amount, 'shoes',
            CASE WHEN kind = 'purchase' THEN jsonb_build_array(
                jsonb_build_object('product_id', 'p' || i %% 500, 'category', 'shoes', 'quantity', 1,
                    'unit_price', amount / 2),
                jsonb_build_object('product_id', 'p' || i %% 499, 'category', 'hats', 'quantity', 2,
                    'unit_price', amount / 4)
            ) END,
            CASE WHEN kind LIKE 'subscription%%' THEN 'basic' END,
            CASE WHEN kind LIKE 'subscription%%' THEN 10 + customer %% 3 * 10 END,
            CASE WHEN kind LIKE 'subscription%%' THEN 10 + customer %% 3 * 10 END,
            (ARRAY['card', 'invoice'])[1 + i %% 2], 1, 'DE'
        FROM (
            SELECT i, number AS order_number,
                at + CASE WHEN i %% 12 = 1 THEN interval '1 minute' ELSE '0' END AS at,
                -- a refund follows its purchase, a sixth are of subscriptions of a third of the customers
                CASE WHEN i %% 6 = 5 THEN customer / 3 * 3 ELSE customer END AS customer,
                CASE
                    WHEN i %% 12 = 1 THEN 'refund' WHEN i %% 6 = 5 THEN 'subscription_renewed' ELSE 'purchase'
                END AS kind,
                CASE WHEN i %% 12 = 1 THEN 5.00 ELSE 10 + number %% 90 + 0.25 END AS amount
            FROM (
                SELECT i, CASE WHEN i %% 12 = 1 THEN i - 1 ELSE i END AS number
                FROM generate_series(0, %(rows)s::int - 1) AS i
            ) AS numbered
            JOIN (
                SELECT i AS number, floor(%(customers)s * random() ^ 2)::int AS customer, {_WHEN} AS at
                FROM generate_series(0, %(rows)s::int - 1) AS i
            ) AS drawn USING (number)
        ) AS made
    """,  # noqa: S608  (texts of our own)
    "silver_customer_events": f"""
        INSERT INTO silver.silver_customer_events ({_COLUMNS}, event_type, customer_id, visitor_id)
        SELECT {_IDENTITY.format(name="c", stream="customer-events")}, 'customer_updated', 'c' || customer,
            'v' || customer
        FROM (
            SELECT i, floor(%(customers)s * random())::int AS customer, {_WHEN} AS at
            FROM generate_series(1, %(rows)s::int) AS i
        ) AS drawn
    """,  # noqa: S608  (texts of our own)
}

ENTITIES: Final = """
INSERT INTO silver.silver_customers (customer_id, country, created_at, first_seen_at, last_seen_at)
SELECT 'c' || i, (ARRAY['DE', 'FR', 'US'])[1 + i %% 3], first_at, first_at, first_at
FROM (
    SELECT i, %(now)s::timestamptz - interval '730 days' * random() AS first_at
    FROM generate_series(0, %(customers)s::int - 1) AS i
) AS drawn;
INSERT INTO silver.silver_products (product_id, name, category, price, currency, stock, is_listed)
SELECT 'p' || i, 'product ' || i, 'shoes', 10, 'USD', 5, true FROM generate_series(0, 499) AS i;
"""


def write_facts(url: str, run: str, facts: int, customers: int, *, recent: bool) -> None:
    """Write facts, sessions and what they touch, as the sinks would.

    Args:
        url: of a migrated database.
        run: a name that makes ids differ.
        facts: how many.
        customers: how many there are.
        recent: whether they are of the last hour, or of all two years.
    """
    given = {"run": run, "now": datetime.now(UTC), "customers": customers, "recent": recent}
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(
            SESSIONS.encode(), {**given, "sessions": facts * SHARES["silver_product_events"] / SESSION_EVENTS}
        )
        connection.execute(b"ANALYZE visits")
        for table, insert in FACTS.items():
            connection.execute(
                f"WITH inserted AS ({insert} RETURNING *) INSERT INTO ops.ops_changes (kind, key, day) "
                f"{touched_by(table, 'inserted')}".encode(),
                {**given, "rows": facts * SHARES[table]},
            )


def timed(settings: Any, *, full_refresh: bool) -> tuple[float, GoldRun]:
    """Build gold; give seconds and the run."""
    began = time.monotonic()
    run = build_gold(settings, full_refresh=full_refresh)
    return time.monotonic() - began, run


def figures(seconds: float, run: GoldRun) -> dict[str, Any]:
    """Give what is printed of a run."""
    by_kind: dict[str, float] = {}
    for node in run.results:
        by_kind[node["kind"]] = by_kind.get(node["kind"], 0) + node["seconds"]
    slowest = sorted(run.results, key=lambda node: -node["seconds"])[:SLOWEST]
    return {
        "seconds": round(seconds, 1),
        "status": run.status,
        "message": run.message,
        # of several threads: they sum to more than the run took
        "of_steps": {kind: round(spent, 1) for kind, spent in by_kind.items()},
        "slowest": {node["name"]: round(node["seconds"], 2) for node in slowest},
    }


def main() -> None:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gold_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--facts", type=int, default=5_000_000)
    parser.add_argument("--share", type=float, default=0.001, help="of the history, that is new")
    parser.add_argument("--rounds", type=int, default=3, help="of new facts")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    customers = max(given.facts // FACTS_A_CUSTOMER, 1)
    found: dict[str, Any] = {
        "facts": given.facts,
        "customers": customers,
        "new": int(given.facts * given.share),
    }
    with (
        tempfile.TemporaryDirectory(prefix="gold-") as folder,
        stopped_platform(Path(folder), workers=()) as platform,
    ):
        url = platform.settings.postgres_url.get_secret_value()
        now = datetime.now(UTC) - timedelta(minutes=1)
        with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(ENTITIES.encode(), {"now": now, "customers": customers})
        write_facts(url, "history-", given.facts, customers, recent=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(b"VACUUM ANALYZE")
        found["first"] = figures(*timed(platform.settings, full_refresh=False))
        print(json.dumps(found["first"], indent=1), flush=True)
        found["full"] = figures(*timed(platform.settings, full_refresh=True))
        print(json.dumps(found["full"], indent=1), flush=True)
        found["later"] = []
        for number in range(given.rounds):
            write_facts(url, f"later-{number}-", found["new"], customers, recent=True)
            found["later"].append(figures(*timed(platform.settings, full_refresh=False)))
            print(json.dumps(found["later"][-1], indent=1), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
