"""Conservation: everything that arrived is in exactly one place, and the same money is everywhere.

Bronze is what arrived. Each of its rows must be exactly one of: the row that a fact came from, a duplicate of
a fact, a dead letter, or a replayed dead letter whose fact exists. Facts, sessions and customers must agree
in events, orders and money.
"""

from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from sinks.schema import (
    BRONZE,
    silver_customer_events,
    silver_product_events,
    silver_system_logs,
    silver_transactions,
)
from streams.events import STREAMS, Stream

FACTS_OF_STREAM: Final[dict[Stream, str]] = {
    "customer-events": silver_customer_events.name,
    "transaction-events": silver_transactions.name,
    "product-events": silver_product_events.name,
    "system-logs": silver_system_logs.name,
}


class StreamDay(NamedTuple):
    """What became of the bronze rows of one stream that arrived on one day.

    `lost` rows are in no place, `doubled` ones in more than one; `facts_without_bronze` came from nowhere.
    """

    stream: str
    day: date
    bronze: int
    facts: int
    duplicates: int
    dead_letters: int
    replayed: int
    lost: int
    doubled: int
    facts_without_bronze: int

    @property
    def is_conserved(self) -> bool:
        """Whether nothing was lost, doubled or invented."""
        return not (self.lost or self.doubled or self.facts_without_bronze)


class Agreement(NamedTuple):
    """A figure as two places have it."""

    what: str
    one: str
    of_one: Decimal
    other: str
    of_other: Decimal

    @property
    def holds(self) -> bool:
        """Whether both places have the same."""
        return self.of_one == self.of_other


_DAYS: Final = sql.SQL(
    """
    WITH arrived AS (
        SELECT
            bronze.arrived_at,
            of_this.event_id IS NOT NULL AS is_fact,
            of_id.event_id IS NOT NULL AS has_fact,
            of_letter.event_id IS NOT NULL AS letter_has_fact,
            letter.status AS letter
        FROM bronze.{bronze} AS bronze
        LEFT JOIN silver.{facts} AS of_this
            ON of_this.stream = {stream}
            AND of_this.arrived_at = bronze.arrived_at
            AND of_this.stream_epoch = bronze.stream_epoch
            AND of_this.shard = bronze.shard
            AND of_this.sequence_number = bronze.sequence_number
            AND of_this.sub_sequence_number = bronze.sub_sequence_number
        LEFT JOIN silver.{facts} AS of_id ON of_id.event_id = bronze.event_id
        LEFT JOIN silver.dead_letters AS letter
            ON letter.stream = {stream}
            AND letter.stream_epoch = bronze.stream_epoch
            AND letter.shard = bronze.shard
            AND letter.sequence_number = bronze.sequence_number
            AND letter.sub_sequence_number = bronze.sub_sequence_number
        -- A corrected record may be a duplicate under another id than it came with.
        LEFT JOIN silver.{facts} AS of_letter
            ON letter.status = 'replayed'
            AND of_letter.event_id = CASE
                WHEN letter.event_id ~* '^[0-9a-f]{{8}}(-?[0-9a-f]{{4}}){{3}}-?[0-9a-f]{{12}}$'
                    THEN letter.event_id::uuid
            END
    ),

    placed AS (
        SELECT
            (arrived_at AT TIME ZONE 'UTC')::date AS day,
            coalesce(letter <> 'replayed', false) AS is_letter,
            coalesce(letter = 'replayed', false) AND (is_fact OR has_fact OR letter_has_fact) AS is_replayed,
            letter IS NULL AND NOT is_fact AND has_fact AS is_duplicate,
            letter IS DISTINCT FROM 'replayed' AND is_fact AS is_fact
        FROM arrived
    ),

    judged AS (
        SELECT *, is_letter::int + is_replayed::int + is_duplicate::int + is_fact::int AS places
        FROM placed
    ),

    counted AS (
        SELECT
            day,
            count(*) AS bronze,
            count(*) FILTER (WHERE is_fact) AS facts,
            count(*) FILTER (WHERE is_duplicate) AS duplicates,
            count(*) FILTER (WHERE is_letter) AS dead_letters,
            count(*) FILTER (WHERE is_replayed) AS replayed,
            count(*) FILTER (WHERE places = 0) AS lost,
            count(*) FILTER (WHERE places > 1) AS doubled
        FROM judged
        GROUP BY day
    ),

    invented AS (
        SELECT (fact.arrived_at AT TIME ZONE 'UTC')::date AS day, count(*) AS facts
        FROM silver.{facts} AS fact
        WHERE fact.stream = {stream}
            AND fact.arrived_at >= (SELECT min(arrived_at) FROM bronze.{bronze})
            AND NOT EXISTS (
                SELECT FROM bronze.{bronze} AS bronze
                WHERE bronze.arrived_at = fact.arrived_at
                    AND bronze.stream_epoch = fact.stream_epoch
                    AND bronze.shard = fact.shard
                    AND bronze.sequence_number = fact.sequence_number
                    AND bronze.sub_sequence_number = fact.sub_sequence_number
            )
        GROUP BY day
    )

    SELECT
        {stream} AS stream,
        coalesce(counted.day, invented.day) AS day,
        coalesce(counted.bronze, 0) AS bronze,
        coalesce(counted.facts, 0) AS facts,
        coalesce(counted.duplicates, 0) AS duplicates,
        coalesce(counted.dead_letters, 0) AS dead_letters,
        coalesce(counted.replayed, 0) AS replayed,
        coalesce(counted.lost, 0) AS lost,
        coalesce(counted.doubled, 0) AS doubled,
        coalesce(invented.facts, 0) AS facts_without_bronze
    FROM counted
    FULL JOIN invented ON counted.day = invented.day
    ORDER BY day
    """
)

_AGREEMENTS: Final = """
    WITH visitor_facts AS (
        SELECT count(*) AS events, 0::bigint AS purchases, 0::numeric AS revenue
        FROM silver.silver_customer_events
        UNION ALL
        SELECT count(*), 0, 0 FROM silver.silver_product_events
        WHERE event_type NOT IN ('product_listed', 'product_delisted')
        UNION ALL
        SELECT
            count(*),
            count(*) FILTER (WHERE transaction_type = 'purchase'),
            coalesce(sum(amount_base) FILTER (WHERE transaction_type = 'purchase'), 0)
            - coalesce(sum(amount_base) FILTER (WHERE transaction_type = 'refund'), 0)
        FROM silver.silver_transactions
    ),

    facts AS (
        SELECT sum(events) AS events, sum(purchases) AS purchases, sum(revenue) AS revenue
        FROM visitor_facts
    ),

    -- Older than the retention of sessions, and not in one since before, when they came for the first time.
    left_alone AS (
        SELECT
            count(*) AS events,
            count(*) FILTER (WHERE fact.kind = 'purchase') AS purchases,
            coalesce(sum(fact.amount) FILTER (WHERE fact.kind = 'purchase'), 0)
            - coalesce(sum(fact.amount) FILTER (WHERE fact.kind = 'refund'), 0) AS revenue
        FROM silver.silver_late_events AS late
        CROSS JOIN LATERAL (
            SELECT visitor_id, NULL AS kind, NULL::numeric AS amount FROM silver.silver_customer_events
            WHERE event_id = late.event_id
            UNION ALL
            SELECT visitor_id, NULL, NULL FROM silver.silver_product_events WHERE event_id = late.event_id
            UNION ALL
            SELECT visitor_id, transaction_type, amount_base FROM silver.silver_transactions
            WHERE event_id = late.event_id
        ) AS fact
        WHERE late.outcome = 'beyond_retention'
            AND NOT EXISTS (
                SELECT FROM silver.silver_sessions AS session
                WHERE session.visitor_id = fact.visitor_id
                    AND late.occurred_at BETWEEN session.started_at AND session.ended_at
            )
    ),

    sessions AS (
        SELECT
            coalesce(sum(events), 0) AS events,
            coalesce(sum(purchases), 0) AS purchases,
            coalesce(sum(revenue_base), 0) AS revenue
        FROM silver.silver_sessions
    ),

    customers AS (
        SELECT coalesce(sum(orders), 0) AS purchases, coalesce(sum(total_spent), 0) AS revenue
        FROM silver.silver_customers
    )

    SELECT
        pairs.what,
        'facts' AS one,
        pairs.of_one,
        pairs.other,
        pairs.of_other
    FROM facts, left_alone, sessions, customers, LATERAL (
        VALUES
        ('events', facts.events - left_alone.events, 'sessions', sessions.events),
        ('purchases', facts.purchases - left_alone.purchases, 'sessions', sessions.purchases),
        ('purchases', facts.purchases, 'customers', customers.purchases),
        ('revenue', facts.revenue - left_alone.revenue, 'sessions', sessions.revenue),
        ('revenue', facts.revenue, 'customers', customers.revenue)
    ) AS pairs (what, of_one, other, of_other)
    """

# Two tables may have taken in one id at the same instant: neither sees what the other has not committed.
_IDS: Final = f"""
    WITH of_id AS (
        SELECT count(*) AS facts FROM (
            {" UNION ALL ".join(f"SELECT event_id FROM silver.{name}" for name in FACTS_OF_STREAM.values())}
        ) AS facts
        GROUP BY event_id
    )

    SELECT 'ids', 'facts', coalesce(sum(facts), 0), 'distinct', count(*)::numeric FROM of_id
"""  # noqa: S608  (names of our own)


def stream_days(connection: psycopg.Connection[Any]) -> list[StreamDay]:
    """Judge every bronze row that is retained; one result a stream and day of arrival."""
    found = []
    with connection.cursor(row_factory=class_row(StreamDay)) as cursor:
        for stream in STREAMS:
            query = _DAYS.format(
                stream=sql.Literal(stream),
                bronze=sql.Identifier(BRONZE[stream].name),
                facts=sql.Identifier(FACTS_OF_STREAM[stream]),
            )
            found += cursor.execute(query).fetchall()
    return found


def agreements(connection: psycopg.Connection[Any]) -> list[Agreement]:
    """Compare events, purchases and revenue (base currency) between facts, sessions and customers.

    Sessions are compared without the events that are too old for their state (`events_left_alone`).

    Also the facts of all tables with their distinct ids: an id is to be in one table.
    """
    with connection.cursor(row_factory=class_row(Agreement)) as cursor:
        pairs = cursor.execute(_AGREEMENTS).fetchall()
    row = connection.execute(_IDS.encode()).fetchone()
    return pairs + ([Agreement(*row)] if row else [])


def events_left_alone(connection: psycopg.Connection[Any]) -> int:
    """Count the events that came when they were older than the retention of sessions."""
    row = connection.execute(
        "SELECT count(*) FROM silver.silver_late_events WHERE outcome = 'beyond_retention'"
    ).fetchone()
    return int(row[0]) if row else 0
