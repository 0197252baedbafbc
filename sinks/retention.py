"""What is thrown away when it is old: days of bronze, changes that gold has taken in, samples of hops."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from typing import Final, NamedTuple

from sinks.changes import count_changes_before, delete_changes_before
from sinks.database import Connection, Database
from sinks.schema import BRONZE

_DAY: Final = re.compile(r"_(\d{8})$")
LOCK_TIMEOUT: Final = "5s"
"""A day is taken away only if no long query stands in the way: writers would queue up behind us."""


class BronzeDay(NamedTuple):
    """A partition of a bronze table: the arrivals of one day (UTC)."""

    table: str
    name: str
    day: date
    bytes: int


def bronze_days_before(database: Database, day: date) -> list[BronzeDay]:
    """Give the partitions of bronze that hold arrivals before a day (UTC), oldest first within each table.

    Raises:
        DatabaseUnavailableError: the database stayed away.
    """
    found = [of for table in BRONZE.values() for of in database.transact(partial(_days_of, table=table.name))]
    return [of for of in found if of.day < day]


def drop_bronze_before(database: Database, day: date) -> Iterator[BronzeDay]:
    """Drop the partitions of bronze that hold arrivals before a day (UTC), each in its own transaction.

    Yields:
        each dropped partition when it is gone.

    Raises:
        psycopg.errors.LockNotAvailable: a query has been reading the table for longer than we wait.
        DatabaseUnavailableError: the database stayed away.
    """
    for of in bronze_days_before(database, day):
        database.transact(partial(_drop, partition=of))
        yield of


def delete_hops_before(database: Database, instant: datetime, *, dry_run: bool = False) -> int:
    """Delete the samples of hops that are older than an instant, and give how many there were.

    Raises:
        DatabaseUnavailableError: the database stayed away.
    """
    if dry_run:
        return database.transact(partial(_count_hops, instant=instant))
    return database.transact(
        lambda connection: connection.execute("DELETE FROM ops_hops WHERE at < %s", (instant,)).rowcount
    )


def trim_changes_before(database: Database, instant: datetime, *, dry_run: bool = False) -> int:
    """Delete changes that are older than an instant and that gold has taken in; give how many there were.

    Raises:
        DatabaseUnavailableError: the database stayed away.
    """
    return database.transact(
        partial(count_changes_before if dry_run else delete_changes_before, before=instant)
    )


def first_day(connection: Connection, table: str) -> date | None:
    """Give the oldest day that a bronze table has kept; None if it has none."""
    return min((of.day for of in _days_of(connection, table)), default=None)


def day_of(partition: str) -> date:
    """Give the day of a partition by its name, `bronze_…_20260301`.

    Raises:
        ValueError: it is not named like one of ours.
    """
    found = _DAY.search(partition)
    if found is None:
        raise ValueError(f"{partition} is no partition of a day")
    return datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC).date()


def _days_of(connection: Connection, table: str) -> list[BronzeDay]:
    rows = connection.execute(
        """
        SELECT child.relname, pg_total_relation_size(child.oid)::text FROM pg_inherits
        JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = %s::regclass ORDER BY child.relname
        """,
        (f"bronze.{table}",),
    ).fetchall()
    return [BronzeDay(table, str(name), day_of(str(name)), int(str(size))) for name, size in rows]


def _drop(connection: Connection, partition: BronzeDay) -> None:
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
    connection.execute(
        f"ALTER TABLE bronze.{partition.table} DETACH PARTITION bronze.{partition.name}".encode()
    )
    connection.execute(f"DROP TABLE bronze.{partition.name}".encode())


def _count_hops(connection: Connection, instant: datetime) -> int:
    row = connection.execute("SELECT count(*) FROM ops_hops WHERE at < %s", (instant,)).fetchone()
    return int(str(row[0])) if row else 0
