"""Raw records into bronze, one transaction a batch; the day's partition is made when it is missing."""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from typing import Final

import psycopg

from sinks.database import Connection, Database, write_bisecting
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
    days = sorted({row.arrived_at.date() for row in rows})
    if days:
        database.transact(partial(ensure_days, table=BRONZE[stream].name, days=days))
    _, refused = write_bisecting(database, rows, partial(_write, stream))
    as_raw = [row.item.as_raw() for row in refused]
    if as_raw:
        database.transact(lambda connection: _write(stream, connection, as_raw))
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


def _write(stream: Stream, connection: Connection, rows: Sequence[BronzeRow]) -> None:
    """Store rows: straight into the table, for all are new but after a crash; else by the staging table."""
    stage, table = STAGING[stream], BRONZE[stream]
    try:
        with connection.transaction():
            copy_rows(connection, stage, rows, into=table.name)
    except psycopg.errors.UniqueViolation:
        copy_rows(connection, stage, rows)
        connection.execute(
            f"""
            INSERT INTO {table.name} ({stage.columns})
            SELECT {stage.columns} FROM {stage.name}
            ORDER BY arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number
            ON CONFLICT DO NOTHING
            """.encode()  # noqa: S608  (names of our own)
        )
    else:
        newest = rows[-1]
        connection.execute(
            b"INSERT INTO ops_hops (hop, stream, event_id, age_seconds) "
            b"VALUES ('bronze', %s, %s, extract(epoch FROM clock_timestamp() - %s))",
            (stream, newest.event_id, newest.arrived_at),
        )
