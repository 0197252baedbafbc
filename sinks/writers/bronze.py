"""Raw records into bronze, in one transaction; the day's partition is made when it is missing."""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from typing import Final

import psycopg

from sinks.database import Connection, Database, is_refusal, write_bisecting
from sinks.mapping.bronze import BronzeRow, bronze_rows
from sinks.schema import BRONZE
from sinks.staging import Staging, copy_rows, staging_of
from streams.dead_letters import DeadLetter
from streams.engine.batch import Placed
from streams.events import Stream

STAGING: Final[dict[Stream, Staging]] = {
    stream: staging_of(table, without={"loaded_at"}) for stream, table in BRONZE.items()
}


def write_bronze(stream: Stream, database: Database, records: Sequence[Placed]) -> list[DeadLetter]:
    """Store records of a raw topic as they came; harmless when done again.

    Returns:
        nothing: a row whose JSON the database does not take is stored as bytes.

    Raises:
        DatabaseUnavailableError: the database stayed away; what was written is kept.
    """
    rows = bronze_rows(stream, records)
    if not rows:
        return []
    days = sorted({row.arrived_at.date() for row in rows})
    make_days = partial(ensure_days, table=BRONZE[stream].name, days=days)
    copy = partial(_copy, stream, rows=rows)
    try:
        try:
            database.transact(copy)
        except psycopg.errors.CheckViolation:  # no partition takes a row: it is the first of its day
            database.transact(make_days)
            database.transact(copy)
    except (psycopg.Error, UnicodeEncodeError, OverflowError) as error:
        if not is_refusal(error):
            raise
        # Some are there already, as after a crash, or cannot be stored.
        database.transact(make_days)
        _, refused = write_bisecting(database, rows, partial(_merge, stream))
        as_raw = [row.item.as_raw() for row in refused]
        if as_raw:
            database.transact(partial(_merge, stream, rows=as_raw))
    return []


def ensure_days(connection: Connection, *, table: str, days: Sequence[date]) -> None:
    """Make the partitions of a bronze table for some days (dates, UTC) that do not exist."""
    for day in days:
        name = f"{table}_{day:%Y%m%d}"
        if _is_there(connection, name):
            continue
        # One process at a time; it is attached, not created in place, so that readers are not locked out.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"bronze.{table}",))
        if _is_there(connection, name):
            continue
        next_day = day + timedelta(days=1)
        connection.execute(f"CREATE TABLE bronze.{name} (LIKE bronze.{table} INCLUDING ALL)".encode())
        connection.execute(
            f"ALTER TABLE bronze.{table} ATTACH PARTITION bronze.{name} "
            f"FOR VALUES FROM ('{day:%Y-%m-%d} 00:00+00') TO ('{next_day:%Y-%m-%d} 00:00+00')".encode()
        )


def _is_there(connection: Connection, name: str) -> bool:
    # Not by `to_regclass`: it may answer from a cache that has not heard of another process's table.
    found = connection.execute(
        "SELECT FROM pg_tables WHERE schemaname = 'bronze' AND tablename = %s", (name,)
    ).fetchone()
    return found is not None


def _copy(stream: Stream, connection: Connection, rows: Sequence[BronzeRow]) -> None:
    """Store rows that are new, straight into the table."""
    copy_rows(connection, STAGING[stream], rows, into=BRONZE[stream].name)
    newest = rows[-1]
    connection.execute(
        b"INSERT INTO ops_hops (hop, stream, event_id, age_seconds) "
        b"VALUES ('bronze', %s, %s, extract(epoch FROM clock_timestamp() - %s))",
        (stream, newest.event_id, newest.arrived_at),
    )


def _merge(stream: Stream, connection: Connection, rows: Sequence[BronzeRow]) -> None:
    """Store those rows that are not there."""
    stage = STAGING[stream]
    copy_rows(connection, stage, rows)
    connection.execute(
        f"""
        INSERT INTO {BRONZE[stream].name} ({stage.columns})
        SELECT {stage.columns} FROM {stage.name}
        ORDER BY arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number
        ON CONFLICT DO NOTHING
        """.encode()  # noqa: S608  (names of our own)
    )
