"""What a rebuild is made from: bronze read again, and whose records are wanted."""

from collections.abc import Collection, Iterator
from datetime import date
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from sinks.conservation import FACTS_OF_STREAM
from sinks.schema import BRONZE
from streams.events import Stream
from streams.transport import TransportIdentity

BRONZE_ROWS: Final = 5_000
"""Rows of bronze that are fetched at a time."""
VISITOR_FACTS: Final = ("silver_transactions", "silver_product_events", "silver_customer_events")


class BronzeRecord(NamedTuple):
    """A record to process again: as it came, or as it was corrected before it was replayed."""

    identity: TransportIdentity
    value: bytes


# A loser of two events with one id stays one: the first stored stays. A discarded record stays discarded. A
# replayed one counts as one attempt more, so that if it fails today its dead letter says so.
_BRONZE: Final = """
    SELECT
        (extract(epoch FROM bronze.arrived_at) * 1000)::bigint,
        bronze.stream_epoch,
        bronze.shard,
        bronze.sequence_number,
        bronze.sub_sequence_number,
        bronze.partition_key,
        CASE letter.status WHEN 'replayed' THEN letter.attempt + 1 ELSE coalesce(letter.attempt, 0) END,
        coalesce(letter.replayed_payload, bronze.raw, convert_to(bronze.payload::text, 'UTF8'))
    FROM bronze.{bronze} AS bronze
    LEFT JOIN silver.dead_letters AS letter
        ON letter.stream = {stream}
        AND letter.stream_epoch = bronze.stream_epoch
        AND letter.shard = bronze.shard
        AND letter.sequence_number = bronze.sequence_number
        AND letter.sub_sequence_number = bronze.sub_sequence_number
    WHERE letter.status IS NULL
        OR letter.status = 'replayed'
        OR (letter.status <> 'discarded' AND letter.reason <> 'conflicting_event_id')
    ORDER BY
        bronze.arrived_at,
        bronze.stream_epoch,
        bronze.shard,
        length(bronze.sequence_number),
        bronze.sequence_number,
        bronze.sub_sequence_number
"""


def bronze_rows(connection: psycopg.Connection[Any]) -> int:
    """Count the records that bronze holds."""
    counts = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT count(*) AS rows FROM bronze.{}").format(sql.Identifier(table.name))
        for table in BRONZE.values()
    )
    row = connection.execute(
        sql.SQL("SELECT sum(rows)::bigint FROM ({}) AS counts").format(counts)
    ).fetchone()
    return int(row[0]) if row else 0


def bronze_records(connection: psycopg.Connection[Any], stream: Stream) -> Iterator[BronzeRecord]:
    """Read a stream's bronze in the order of arrival, in bounded memory; within a transaction."""
    query = sql.SQL(_BRONZE).format(bronze=sql.Identifier(BRONZE[stream].name), stream=sql.Literal(stream))
    with connection.cursor(name=f"bronze_{stream}", withhold=False) as cursor:
        cursor.itersize = BRONZE_ROWS
        cursor.execute(query)
        for arrived_at_ms, epoch, shard, sequence, sub_sequence, partition_key, attempt, value in cursor:
            identity = TransportIdentity(
                stream, epoch, shard, sequence, sub_sequence, partition_key, arrived_at_ms, attempt
            )
            yield BronzeRecord(identity, value)


def facts_without_bronze(connection: psycopg.Connection[Any], visitors: Collection[str] | None = None) -> int:
    """Count the facts whose day of arrival bronze no longer has: a rebuild could not make them again.

    Args:
        connection: to look with.
        visitors: whose facts; None: all.
    """
    lost = 0
    for stream, table in FACTS_OF_STREAM.items():
        if visitors is not None and table not in VISITOR_FACTS:
            continue
        of_visitors = "AND visitor_id = ANY(%(visitors)s)" if visitors is not None else ""
        row = connection.execute(
            f"""
            SELECT count(*) FROM silver.{table}
            WHERE (arrived_at AT TIME ZONE 'UTC')::date NOT IN (
                SELECT to_date(right(relname, 8), 'YYYYMMDD')
                FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                WHERE inhparent = 'bronze.{BRONZE[stream].name}'::regclass
            ) {of_visitors}
            """.encode(),  # noqa: S608  (names of our own)
            {"visitors": list(visitors or ())},
        ).fetchone()
        lost += row[0] if row else 0
    return lost


def visitors_of_day(connection: psycopg.Connection[Any], day: date) -> set[str]:
    """Give the visitors that have an event or a session on a day (UTC)."""
    on_day = (
        "{column} >= %(day)s::date::timestamp AT TIME ZONE 'UTC' "
        "AND {column} < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'"
    )
    selects = [
        f"SELECT visitor_id FROM silver.{table} WHERE {on_day.format(column=column)}"  # noqa: S608
        for table, column in (
            *((table, "occurred_at") for table in VISITOR_FACTS),
            ("silver_sessions", "started_at"),
        )
    ]
    rows = connection.execute(" UNION ".join(selects).encode(), {"day": day}).fetchall()
    return {visitor for (visitor,) in rows if visitor is not None}


def linked_visitors(connection: psycopg.Connection[Any], customers: Collection[str]) -> set[str]:
    """Give the anonymous visitors that were linked to some customers."""
    rows = connection.execute(
        b"SELECT DISTINCT anonymous_id FROM silver.silver_identities WHERE customer_id = ANY(%s)",
        (list(customers),),
    ).fetchall()
    return {visitor for (visitor,) in rows}
