"""What is thrown away when it is old: days of bronze, and samples of hops."""

import re
from datetime import UTC, date, datetime
from typing import Final

from sinks.database import Connection, Database
from sinks.schema import BRONZE

_DAY: Final = re.compile(r"_(\d{8})$")
LOCK_TIMEOUT: Final = "5s"
"""A day is taken away only if no long query stands in the way: writers would queue up behind us."""


def drop_bronze_before(database: Database, day: date) -> list[str]:
    """Drop the partitions of bronze that hold arrivals before a day (UTC), each in its own transaction.

    Returns:
        the names of the dropped partitions, oldest first within each table.

    Raises:
        psycopg.errors.LockNotAvailable: a query has been reading the table for longer than we wait.
        DatabaseUnavailableError: the database stayed away.
    """
    dropped = []
    for table in BRONZE.values():
        for name in database.transact(lambda connection, of=table.name: _days_of(connection, of)):  # type: ignore[misc]  # mypy does not infer a lambda's default
            if day_of(name) < day:
                database.transact(
                    lambda connection, of=table.name, name=name: _drop(connection, of, name)  # type: ignore[misc]  # as above
                )
                dropped.append(name)
    return dropped


def delete_hops_before(database: Database, instant: datetime) -> int:
    """Delete the samples of hops that are older than an instant, and give how many there were.

    Raises:
        DatabaseUnavailableError: the database stayed away.
    """
    return database.transact(
        lambda connection: connection.execute("DELETE FROM ops.ops_hops WHERE at < %s", (instant,)).rowcount
    )


def day_of(partition: str) -> date:
    """Give the day of a partition by its name, `bronze_…_20260301`.

    Raises:
        ValueError: it is not named like one of ours.
    """
    found = _DAY.search(partition)
    if found is None:
        raise ValueError(f"{partition} is no partition of a day")
    return datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC).date()


def _days_of(connection: Connection, table: str) -> list[str]:
    rows = connection.execute(
        """
        SELECT child.relname FROM pg_inherits
        JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = %s::regclass ORDER BY child.relname
        """,
        (f"bronze.{table}",),
    ).fetchall()
    return [str(name) for (name,) in rows]


def _drop(connection: Connection, table: str, partition: str) -> None:
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
    connection.execute(f"ALTER TABLE bronze.{table} DETACH PARTITION bronze.{partition}".encode())
    connection.execute(f"DROP TABLE bronze.{partition}".encode())
