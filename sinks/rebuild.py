"""The end of a rebuild in the database: a second set of silver is put in the place of the first.

The second set is written by the ordinary writers, in a schema of its own (`SCRATCH`), while readers go on
with the first.
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any, Final

import psycopg
from psycopg import sql

from sinks.changes import REBUILT
from sinks.conservation import FACTS_OF_STREAM
from sinks.rebuild_schema import create_silver
from sinks.rebuild_source import VISITOR_FACTS
from sinks.schema import dead_letters, metadata
from sinks.views import drop_views
from sinks.writers.facts_sql import touched_by

SCRATCH: Final = "silver_rebuild"
RETIRED: Final = "silver_before_rebuild"
TABLES: Final = tuple(table.name for table in metadata.sorted_tables if table.schema == "silver")
"""All tables of silver, the dead letters among them."""

_IDENTITY: Final = ("stream_epoch", "shard", "sequence_number", "sub_sequence_number")


def begin(connection: psycopg.Connection[Any]) -> None:
    """Make an empty second set of silver, in place of what a rebuild that was broken off has left.

    The dead letters are taken over: they also say what operators decided.
    """
    connection.execute(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE".encode())
    create_silver(connection, SCRATCH)
    _copy(connection, "dead_letters", from_schema="silver", to_schema=SCRATCH)


def settle_letters(connection: psycopg.Connection[Any]) -> int:
    """Mark the dead letters that have become facts in the second set, and give how many there are."""
    settled = 0
    for stream, table in FACTS_OF_STREAM.items():
        same = " AND ".join(f"fact.{column} = letter.{column}" for column in _IDENTITY)
        settled += connection.execute(
            f"""
            UPDATE {SCRATCH}.dead_letters AS letter SET status = 'replayed', updated_at = now()
            FROM {SCRATCH}.{table} AS fact
            WHERE letter.stream = %s AND letter.status IN ('pending', 'exhausted')
                AND fact.stream = letter.stream AND {same}
            """.encode(),  # noqa: S608  (names of our own)
            (stream,),
        ).rowcount
    return settled


def keep_outcomes(connection: psycopg.Connection[Any]) -> None:
    """Let the second set's late events say what they did to sessions when they came.

    That depended on what had come before them from other sources, which bronze does not tell. Those that had
    left sessions alone for their age have not any more.
    """
    connection.execute(
        f"""
        UPDATE {SCRATCH}.silver_late_events AS new SET outcome = old.outcome
        FROM silver.silver_late_events AS old
        WHERE old.event_id = new.event_id AND old.outcome NOT IN (new.outcome, 'beyond_retention')
        """.encode()  # noqa: S608  (names of our own)
    )


def vanished_session_days(
    connection: psycopg.Connection[Any], visitors: Collection[str] | None = None
) -> list[tuple[str, date]]:
    """Give the visitors and days that have sessions in silver and none in the second set.

    Args:
        connection: to look with.
        visitors: to look for; None: all.
    """
    return connection.execute(
        f"""
        SELECT visitor_id, day FROM ops.ops_session_revisions
        WHERE %(visitors)s::text[] IS NULL OR visitor_id = ANY(%(visitors)s)
        EXCEPT SELECT visitor_id, day FROM {SCRATCH}.ops_session_revisions
        """.encode(),  # noqa: S608  (names of our own)
        {"visitors": None if visitors is None else list(visitors)},
    ).fetchall()


def swap(connection: psycopg.Connection[Any]) -> None:
    """Put the second set in the place of the first, in the caller's transaction.

    Readers see the one set or the other. Views and grants of the new one are the caller's to make.
    """
    _log_vanished(connection)
    connection.execute(
        f"""
        INSERT INTO ops.ops_changes (kind, key, day)
        SELECT 'session', visitor_id, day FROM ops.ops_session_revisions
        UNION SELECT kind, key, day FROM {SCRATCH}.ops_changes
        """.encode()  # noqa: S608  (names of our own)
    )
    _log_rebuilt(connection)
    connection.execute(b"TRUNCATE ops.ops_session_revisions")
    _copy(connection, "ops_session_revisions", to_schema="ops")
    for table in ("ops_changes", "ops_hops", "ops_session_revisions"):
        connection.execute(f"DROP TABLE {SCRATCH}.{table}".encode())
    connection.execute(f"ALTER SCHEMA silver RENAME TO {RETIRED}".encode())
    connection.execute(f"ALTER SCHEMA {SCRATCH} RENAME TO silver".encode())


def drop_retired(connection: psycopg.Connection[Any]) -> None:
    """Drop the first set.

    Raises:
        psycopg.errors.DependentObjectsStillExist: something else was made on its tables.
    """
    drop_views(connection, RETIRED)
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {RETIRED}.{table}".encode())
    connection.execute(f"DROP SCHEMA IF EXISTS {RETIRED}".encode())


def take_tables(connection: psycopg.Connection[Any], tables: Collection[str]) -> None:
    """Put the rows of some tables of the second set in the place of theirs, in the caller's transaction."""
    _log_vanished(connection)
    for table in sorted(tables):
        connection.execute(f"TRUNCATE silver.{table}".encode())
        _copy(connection, table)
    if "silver_sessions" in tables:
        connection.execute(b"TRUNCATE ops.ops_session_revisions")
        _copy(connection, "ops_session_revisions", to_schema="ops")
    connection.execute(
        f"""
        INSERT INTO ops.ops_changes (kind, key, day)
        SELECT DISTINCT kind, key, day FROM {SCRATCH}.ops_changes
        """.encode()  # noqa: S608  (names of our own)
    )
    _log_rebuilt(connection)
    drop_scratch(connection)


def take_visitors(connection: psycopg.Connection[Any], visitors: Collection[str]) -> None:
    """Put what the second set has of some visitors (and customers) in the place of theirs.

    Whether an event was late depends on all others of its source, so that is kept from silver.
    """
    ids = list(visitors)
    for table in VISITOR_FACTS:
        connection.execute(
            f"""
            UPDATE {SCRATCH}.{table} AS new SET is_late = old.is_late
            FROM silver.{table} AS old WHERE old.event_id = new.event_id AND old.is_late <> new.is_late
            """.encode()  # noqa: S608  (names of our own)
        )
        connection.execute(
            f"""
            DELETE FROM silver.silver_late_events AS late USING silver.{table} AS old
            WHERE old.event_id = late.event_id AND old.visitor_id = ANY(%s)
                AND NOT EXISTS (SELECT FROM {SCRATCH}.{table} AS new WHERE new.event_id = late.event_id)
            """.encode(),  # noqa: S608  (names of our own)
            (ids,),
        )
    for table, column in (
        *((table, "visitor_id") for table in VISITOR_FACTS),
        ("silver_sessions", "visitor_id"),
        ("silver_customers", "customer_id"),
        ("silver_identities", "customer_id"),
    ):
        connection.execute(f"DELETE FROM silver.{table} WHERE {column} = ANY(%s)".encode(), (ids,))  # noqa: S608
        _copy(connection, table, only=(column, ids))
    connection.execute(b"DELETE FROM ops.ops_session_revisions WHERE visitor_id = ANY(%s)", (ids,))
    _copy(connection, "ops_session_revisions", to_schema="ops")
    _take_letters(connection)
    connection.execute(
        f"""
        INSERT INTO ops.ops_changes (kind, key, day)
        SELECT DISTINCT kind, key, day FROM {SCRATCH}.ops_changes
        UNION SELECT 'customer', unnest(%(ids)s::text[]), NULL
        UNION SELECT 'visitor', unnest(%(ids)s::text[]), NULL
        """.encode(),  # noqa: S608  (names of our own)
        {"ids": ids},
    )
    _log_rebuilt(connection)
    drop_scratch(connection)


def stamp_revisions(
    connection: psycopg.Connection[Any],
    sessions: Mapping[str, tuple[int, int]],
    customers: Mapping[str, tuple[int, int]],
) -> None:
    """Give rows of the second set the revisions that the published state has, by visitor and by customer."""
    with connection.cursor() as cursor:
        cursor.executemany(
            f"""
            UPDATE {SCRATCH}.ops_session_revisions SET epoch = %s, "offset" = %s WHERE visitor_id = %s
            """.encode(),  # noqa: S608  (a name of our own)
            [(*revision, visitor) for visitor, revision in sessions.items()],
        )
        cursor.executemany(
            f"""
            UPDATE {SCRATCH}.silver_customers SET revision_epoch = %s, revision_offset = %s
            WHERE customer_id = %s AND revision_epoch IS NOT NULL
            """.encode(),  # noqa: S608  (a name of our own)
            [(*revision, customer) for customer, revision in customers.items()],
        )


def drop_scratch(connection: psycopg.Connection[Any]) -> None:
    """Drop the second set."""
    connection.execute(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE".encode())


def _take_letters(connection: psycopg.Connection[Any]) -> None:
    keys = [column.name for column in dead_letters.primary_key]
    others = [column.name for column in dead_letters.columns if column.name not in keys]
    columns = ", ".join([*keys, *others])
    connection.execute(
        f"""
        INSERT INTO silver.dead_letters ({columns})
        SELECT {columns} FROM {SCRATCH}.dead_letters
        EXCEPT SELECT {columns} FROM silver.dead_letters
        ON CONFLICT ({", ".join(keys)}) DO UPDATE SET {", ".join(f"{c} = excluded.{c}" for c in others)}
        """.encode()  # noqa: S608  (names of our own)
    )


def _log_rebuilt(connection: psycopg.Connection[Any]) -> None:
    """Note that facts may be others than before, which those who copy what is new could not see."""
    connection.execute("INSERT INTO ops.ops_changes (kind, key) VALUES (%s, 'silver')", (REBUILT,))


def _log_vanished(connection: psycopg.Connection[Any]) -> None:
    """Note what is in silver alone: what is in the second set is in its own change log."""
    for kind, table, key in (
        ("customer", "silver_customers", "customer_id"),
        ("product", "silver_products", "product_id"),
        ("identity", "silver_identities", "anonymous_id"),
        ("customer", "silver_identities", "customer_id"),
    ):
        connection.execute(
            f"""
            INSERT INTO ops.ops_changes (kind, key)
            SELECT '{kind}', {key} FROM silver.{table} EXCEPT SELECT '{kind}', {key} FROM {SCRATCH}.{table}
            """.encode()  # noqa: S608  (names of our own)
        )
    for table in FACTS_OF_STREAM.values():
        connection.execute(
            f"""
            WITH vanished AS (
                SELECT * FROM silver.{table} AS old
                WHERE NOT EXISTS (SELECT FROM {SCRATCH}.{table} AS new WHERE new.event_id = old.event_id)
            )
            INSERT INTO ops.ops_changes (kind, key, day) {touched_by(table, "vanished")}
            """.encode()  # noqa: S608  (names of our own)
        )


def _copy(
    connection: psycopg.Connection[Any],
    table: str,
    *,
    from_schema: str = SCRATCH,
    to_schema: str = "silver",
    only: tuple[str, list[str]] | None = None,
) -> None:
    """Copy rows of a table of ours by the columns' names: migrations have them in another order."""
    of = next(t for t in metadata.sorted_tables if t.name == table)
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in of.columns)
    query = sql.SQL("INSERT INTO {}.{} ({}) SELECT {} FROM {}.{}").format(
        sql.Identifier(to_schema),
        sql.Identifier(table),
        columns,
        columns,
        sql.Identifier(from_schema),
        sql.Identifier(table),
    )
    if only is None:
        connection.execute(query)
    else:
        column, values = only
        where = sql.SQL(" WHERE {} = ANY({})").format(sql.Identifier(column), sql.Literal(values))
        connection.execute(query + where)
