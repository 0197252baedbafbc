"""The statements that merge staged facts into their tables, one for each. Pure text.

Each is one statement of chained writes: `inserted` are the events that were really new, and all else
(totals, change log, hops) is computed from them alone. So a replay moves nothing.
"""

from typing import Final

from sinks.mapping.facts import STAGING

_TOTALS: Final = """
    totals AS (
        INSERT INTO silver_customers AS stored
            (customer_id, created_at, first_seen_at, last_seen_at, orders, total_spent)
        SELECT customer_id, min(occurred_at), min(occurred_at), max(occurred_at),
            count(*) FILTER (WHERE transaction_type = 'purchase'),
            coalesce(sum(CASE transaction_type WHEN 'purchase' THEN amount_base ELSE -amount_base END), 0)
        FROM inserted
        WHERE transaction_type IN ('purchase', 'refund')
        GROUP BY customer_id
        ORDER BY customer_id
        ON CONFLICT (customer_id) DO UPDATE SET
            orders = stored.orders + excluded.orders,
            total_spent = stored.total_spent + excluded.total_spent,
            -- until the profile itself has come, the row says what the facts say
            created_at = CASE WHEN stored.revision_epoch IS NULL
                THEN least(stored.created_at, excluded.created_at) ELSE stored.created_at END,
            first_seen_at = CASE WHEN stored.revision_epoch IS NULL
                THEN least(stored.first_seen_at, excluded.first_seen_at) ELSE stored.first_seen_at END,
            last_seen_at = CASE WHEN stored.revision_epoch IS NULL
                THEN greatest(stored.last_seen_at, excluded.last_seen_at) ELSE stored.last_seen_at END,
            updated_at = now()
    ),
"""

_DAY: Final = "(occurred_at AT TIME ZONE 'UTC')::date"

# What each fact touches: (kind, key) of the change log; null keys are left out.
_TOUCHED: Final = {
    "silver_transactions": """
        SELECT 'customer', customer_id, {day} FROM {facts}
        UNION SELECT 'product', item ->> 'product_id', {day}
        FROM {facts}, jsonb_array_elements(CASE jsonb_typeof(items) WHEN 'array' THEN items END) AS item
    """,
    "silver_product_events": """
        SELECT 'customer', customer_id, {day} FROM {facts}
        UNION SELECT 'visitor', visitor_id, {day} FROM {facts} WHERE customer_id IS NULL
        UNION SELECT 'product', product_id, {day} FROM {facts}
    """,
    "silver_customer_events": "SELECT 'customer', customer_id, {day} FROM {facts}",
    "silver_system_logs": "SELECT 'service', service, {day} FROM {facts}",
}


_OF_ALL: Final = ("event_id", "stream", "occurred_at", "arrived_at")
# What the rest of the statement reads of a new fact. All that is returned is written down once more.
_USED_BEHIND: Final = {
    "silver_transactions": (*_OF_ALL, "customer_id", "transaction_type", "amount_base", "items"),
    "silver_product_events": (*_OF_ALL, "customer_id", "visitor_id", "product_id"),
    "silver_customer_events": (*_OF_ALL, "customer_id"),
    "silver_system_logs": (*_OF_ALL, "service"),
}


def touched_by(table: str, facts: str) -> str:
    """Give the query of what facts touch, as rows of the change log.

    Args:
        table: of the facts.
        facts: where they are read from, a table or a name of a `WITH`.
    """
    touched = _TOUCHED[table].format(day=_DAY, facts=facts)
    return f"SELECT DISTINCT * FROM ({touched}) AS touched (kind, key, day) WHERE key IS NOT NULL"  # noqa: S608


def _insert(table: str) -> str:
    staging = STAGING[table]
    technical = {"number", "raw_at_ms", "clean_at_ms"}
    columns = ", ".join(f'"{name}"' for name in staging.types if name not in technical)
    # An id is known if any table has it, and within a batch the first record of it counts.
    elsewhere = " AND ".join(
        f"NOT EXISTS (SELECT FROM {other} AS known WHERE known.event_id = staged.event_id)"
        for other in STAGING
        if other != table
    )
    return f"""
        WITH inserted AS (
            INSERT INTO {table} ({columns})
            SELECT DISTINCT ON (event_id) {columns} FROM {staging.name} AS staged
            WHERE {elsewhere}
            ORDER BY event_id, number
            ON CONFLICT (event_id) DO NOTHING
            RETURNING {", ".join(_USED_BEHIND[table])}
        ),
        {_TOTALS if table == "silver_transactions" else ""}
        changes AS (
            INSERT INTO ops_changes (kind, key, day)
            {touched_by(table, "inserted")}
        ),
        sample AS (SELECT * FROM inserted ORDER BY arrived_at DESC LIMIT 1),
        hops AS (
            INSERT INTO ops_hops (hop, stream, event_id, age_seconds)
            SELECT hop, sample.stream, sample.event_id, extract(epoch FROM reached_at - sample.arrived_at)
            FROM sample
            JOIN LATERAL (
                SELECT
                    to_timestamp(raw_at_ms / 1000.0) AS raw_at,
                    to_timestamp(clean_at_ms / 1000.0) AS clean_at
                FROM {staging.name} AS staged
                WHERE staged.event_id = sample.event_id ORDER BY number LIMIT 1
            ) AS staged ON true
            CROSS JOIN LATERAL (VALUES
                ('ingest', raw_at), ('clean', clean_at), ('silver', clock_timestamp())
            ) AS reached (hop, reached_at)
            WHERE reached_at IS NOT NULL
        )
        SELECT count(*) FROM inserted
    """  # noqa: S608  (names of our own)


def _conflicts(table: str, stored_in: str) -> str:
    identity = ("stream", "stream_epoch", "shard", "sequence_number", "sub_sequence_number")
    staged, stored = ([f"{name}.{column}" for column in identity] for name in ("staged", "stored"))
    return f"""
        SELECT staged.number
        FROM {STAGING[table].name} AS staged
        JOIN {stored_in} AS stored USING (event_id)
        WHERE stored.content_hash <> staged.content_hash
            -- the same record again is no conflict, even if it is understood in another way today
            AND ({", ".join(staged)}) <> ({", ".join(stored)})
    """  # noqa: S608  (names of our own)


INSERTS: Final = {table: _insert(table) for table in STAGING}
"""By table: insert what is staged; gives how many events were new."""

CONFLICTS: Final = {
    table: " UNION ".join(_conflicts(table, stored_in) for stored_in in STAGING) for table in STAGING
}
"""By table: the numbers of staged events whose id is stored with other content, after the insertion."""
