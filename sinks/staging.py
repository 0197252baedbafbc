"""Temporary tables that batches are copied into, from where one statement merges them into the real ones.

Each connection makes them once, and empties one when it is used again. Not by `ON COMMIT DELETE ROWS`: that
truncates the tables of all topics at every commit, which takes 4 to 8 ms, more than all else that a small
batch costs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from sinks.binary import type_name
from sinks.database import Connection

MOST_DELETED_BYTES: Final = 256 * 1024
"""Of a staging table, rows of earlier transactions included: about a thousand facts."""

_dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


@dataclass(frozen=True)
class Staging:
    """A temporary table: its name and its columns with their types in SQL."""

    name: str
    types: dict[str, str]

    @property
    def columns(self) -> str:
        """The columns' names, separated by commas, in the order that rows are copied in."""
        return ", ".join(f'"{name}"' for name in self.types)

    @property
    def create(self) -> str:
        """The statement that makes the table."""
        columns = ", ".join(f'"{name}" {kind}' for name, kind in self.types.items())
        return f"CREATE TEMPORARY TABLE {self.name} ({columns})"


def staging_of(table: Table, *, without: Iterable[str] = (), extra: dict[str, str] | None = None) -> Staging:
    """Give the staging table of a table: its columns but for some, and some of its own."""
    left_out = frozenset(without)
    types = {
        column.name: column.type.compile(dialect=_dialect)
        for column in table.columns
        if column.name not in left_out
    }
    return Staging(f"stage_{table.name}", types | (extra or {}))


def copy_rows(
    connection: Connection,
    staging: Staging,
    rows: Iterable[Sequence[Any]],
    *,
    append: bool = False,
    into: str | None = None,
) -> None:
    """Copy rows into the staging table, in place of what an earlier transaction left there.

    Args:
        connection: that has the table.
        staging: the table.
        rows: values in the order of its columns.
        append: keep what this transaction has already copied.
        into: another table with these columns, which is not emptied.
    """
    if into is None and not append:
        _empty(connection, staging)
    statement = f"COPY {into or staging.name} ({staging.columns}) FROM STDIN (FORMAT binary)"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.set_types([type_name(kind) for kind in staging.types.values()])
        for row in rows:
            copy.write_row(row)


def _empty(connection: Connection, staging: Staging) -> None:
    """Delete what is there; once that has come to something, truncate.

    To truncate makes a new file, and has every plan that reads the table made anew, which takes longer than
    all else that a small batch costs. But deleted rows are still read past, and a plan that was made while
    tables were small is slow when they have grown: so neither gets old.
    """
    found = connection.execute(b"SELECT pg_relation_size(%s::regclass)", (staging.name,)).fetchone()
    is_small = found is not None and int(str(found[0])) <= MOST_DELETED_BYTES
    connection.execute(f"{'DELETE FROM' if is_small else 'TRUNCATE'} {staging.name}".encode())


def look_up_one_by_one(connection: Connection) -> None:
    """Let the rest of the transaction find rows by their indexes, not by reading whole tables.

    The planner has no statistics of what was just staged and would rather join it to all that is stored.
    """
    connection.execute(
        b"SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"
    )
