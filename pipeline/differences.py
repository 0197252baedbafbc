"""Two queries side by side, in SQL: which rows are missing, which are too many, which differ in what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

Connection = psycopg.Connection[Any]

EXAMPLES: Final = 5

Kind = Literal["missing", "extra", "differs"]


class Difference(NamedTuple):
    """One row, or one column of it, that is not as expected; values as JSON has them."""

    table: str
    kind: Kind
    key: str
    column: str | None = None
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        if self.kind == "differs":
            return (
                f"{self.table} {self.key}: {self.column} is {_shown(self.found)}, "
                f"expected was {_shown(self.expected)}"
            )
        return f"{self.table} {self.key} is {'missing' if self.kind == 'missing' else 'one too many'}"


@dataclass(frozen=True)
class TableComparison:
    """What was found in a table.

    `left_out` rows are of, or touched by, events that no ledger names, or that an operator has repaired.
    """

    table: str
    expected: int
    found: int
    missing: int
    extra: int
    differing: int
    left_out: int
    examples: tuple[Difference, ...]

    @property
    def agrees(self) -> bool:
        """Whether every row is there, once, as expected."""
        return not (self.missing or self.extra or self.differing)


class Sides(NamedTuple):
    """Two queries with the same columns; `shown` gives the key of a row of `ours` or `stored` as text."""

    table: str
    ours: sql.Composable
    stored: sql.Composable
    key: Sequence[str]
    columns: Sequence[str]
    shown: sql.Composable


def judge(
    connection: Connection, both: Sides, left_out: int, more: sql.Composable | None = None
) -> TableComparison:
    """Join both sides by key; rows that agree are counted only.

    Args:
        connection: in its transaction.
        both: what to compare.
        left_out: how many stored rows are not.
        more: another query that gives differences: kind, key, and [column, expected, found] of each column.
    """
    joined = sql.SQL(" AND ").join(
        sql.SQL("stored.{0} = ours.{0}").format(sql.Identifier(name)) for name in both.key
    )
    differing = sql.SQL(", ").join(
        sql.SQL(
            "CASE WHEN ours.{0} IS DISTINCT FROM stored.{0} "
            "THEN jsonb_build_array({1}, ours.{0}, stored.{0}) END"
        ).format(sql.Identifier(name), sql.Literal(name))
        for name in both.columns
    )
    first = sql.Identifier(both.key[0])
    kind = sql.SQL(
        "CASE WHEN stored.{0} IS NULL THEN 'missing' WHEN ours.{0} IS NULL THEN 'extra' ELSE 'differs' END"
    ).format(first)
    connection.execute(
        sql.SQL(
            """
            CREATE TEMPORARY TABLE differences ON COMMIT DROP AS
            SELECT {kind} AS kind, {shown} AS key, array_remove(ARRAY[{differing}]::jsonb[], NULL) AS columns
            FROM ({ours}) AS ours FULL JOIN ({stored}) AS stored ON {joined}
            WHERE ours.{first} IS NULL OR stored.{first} IS NULL OR {of_ours} IS DISTINCT FROM {of_stored}
            """
        ).format(
            kind=kind,
            shown=both.shown,
            differing=differing,
            ours=both.ours,
            stored=both.stored,
            joined=joined,
            first=first,
            of_ours=_fields("ours", both.columns or both.key),
            of_stored=_fields("stored", both.columns or both.key),
        )
    )
    if more is not None:
        connection.execute(sql.SQL("INSERT INTO differences {}").format(more))
    counts: dict[str, int] = dict(
        connection.execute("SELECT kind, count(*) FROM differences GROUP BY kind").fetchall()
    )
    found = count_rows(connection, both.stored)
    missing, extra = counts.get("missing", 0), counts.get("extra", 0)
    comparison = TableComparison(
        table=both.table,
        expected=found - extra + missing,
        found=found,
        missing=missing,
        extra=extra,
        differing=counts.get("differs", 0),
        left_out=left_out,
        examples=_examples(connection, both.table),
    )
    connection.execute("DROP TABLE differences")
    return comparison


def _examples(connection: Connection, table: str) -> tuple[Difference, ...]:
    """Give a few differences, of as many kinds and columns as there are."""
    with connection.cursor(row_factory=class_row(Difference)) as cursor:
        cursor.execute(
            """
            WITH single AS (
                SELECT kind, key, parts.value ->> 0 AS "column",
                    (parts.value -> 1)::text AS expected, (parts.value -> 2)::text AS found
                FROM differences
                LEFT JOIN LATERAL unnest(columns) AS parts (value) ON kind = 'differs'
            ),

            numbered AS (
                SELECT *, row_number() OVER (PARTITION BY kind, "column" ORDER BY key) AS number FROM single
            )

            SELECT %s AS "table", kind, key, "column", expected, found
            FROM numbered
            ORDER BY number, kind, "column"
            LIMIT %s
            """,
            (table, EXAMPLES),
        )
        return tuple(cursor)


def _fields(side: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("ROW({})").format(sql.SQL(", ").join(sql.Identifier(side, column) for column in columns))


def count_rows(connection: Connection, query: sql.Composable) -> int:
    """Count the rows of a query."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM ({}) AS counted").format(query)).fetchone()
    return int(row[0]) if row else 0


def _shown(value: str | None) -> str:
    return "NULL" if value in (None, "null") else str(value)
