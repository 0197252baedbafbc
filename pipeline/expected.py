"""What the oracle expects, in temporary tables: so memory does not grow with events."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from producer.ledger import LedgerLine, read_ledger
from producer.oracle.rows import (
    TABLE_OF,
    Customer,
    CustomerEvent,
    Identity,
    Letter,
    Product,
    ProductEvent,
    Row,
    Session,
    SystemLog,
    Transaction,
)
from producer.oracle.sessions import Step, sessions_of
from producer.oracle.tables import Oracle
from producer.oracle.truth import OracleConfig

Connection = psycopg.Connection[Any]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    TABLE_OF[kind]: kind._fields
    for kind in (
        Transaction,
        ProductEvent,
        CustomerEvent,
        SystemLog,
        Customer,
        Product,
        Session,
        Identity,
        Letter,
    )
}
"""By table: the columns that a ledger determines."""

_BUFFERED_ROWS: Final = 5_000
_FETCHED_ROWS: Final = 10_000
_SORT_MEMORY: Final = "64MB"
_SESSION_TABLES: Final = {
    "silver_transactions": "transaction_type",
    "silver_product_events": "event_type",
    "silver_customer_events": "event_type",
}
"""Facts that make sessions, and where each says its type."""


def expected(table: str) -> sql.Identifier:
    """Give the name of the temporary table that holds what a table is expected to hold."""
    return sql.Identifier(f"expected_{table}")


def fill_expected(
    connection: Connection,
    ledgers: Sequence[Path],
    config: OracleConfig,
    *,
    schema: str = "silver",
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Make and fill the temporary tables of a connection.

    Args:
        connection: that has none of them yet.
        ledgers: whose records together are expected.
        config: what else decides the tables.
        schema: where the stored tables are, whose types are taken.
        progress: told how many more lines were read.

    Raises:
        OSError: a ledger cannot be read.
        msgspec.DecodeError: a line is not a ledger's.
        OracleError: a ledger is not the shop's.
        psycopg.Error: the database does not answer.
    """
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(sql.SQL("SET work_mem = {}").format(sql.Literal(_SORT_MEMORY)))
    _create(connection, schema)
    oracle = Oracle(config)
    tables = _Tables(connection)
    for ledger in ledgers:
        for lines in _chunks(read_ledger(ledger), _BUFFERED_ROWS):
            for line in lines:
                tables.add(oracle.read(line))
            progress(len(lines))
    tables.add(oracle.entities())
    tables.flush()
    for table in (*_SESSION_TABLES, TABLE_OF[SystemLog]):
        _drop_repeats(connection, table, ("event_id",))
    _drop_repeats(connection, TABLE_OF[Identity], Identity._fields)
    tables.add(sessions_of(_steps(connection, schema), config.gap))
    tables.flush()
    for table in COLUMNS:
        connection.execute(sql.SQL("ANALYZE {}").format(expected(table)))


def _create(connection: Connection, schema: str) -> None:
    for table, columns in COLUMNS.items():
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                expected(table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.Identifier(schema, table),
            )
        )


class _Tables:
    """Copies rows into the temporary tables, many at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[str, list[Row]] = {table: [] for table in COLUMNS}

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            table = TABLE_OF[type(row)]
            waiting = self._waiting[table]
            waiting.append(row)
            if len(waiting) == _BUFFERED_ROWS:
                self._copy(table)

    def flush(self) -> None:
        for table in COLUMNS:
            self._copy(table)

    def _copy(self, table: str) -> None:
        rows, self._waiting[table] = self._waiting[table], []
        statement = sql.SQL("COPY {} FROM STDIN").format(expected(table))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)


def _drop_repeats(connection: Connection, table: str, key: Sequence[str]) -> None:
    """Keep one row of each key: ledgers name an event as often as it was sent."""
    names = sql.SQL(", ").join(map(sql.Identifier, key))
    same = sql.SQL(" AND ").join(
        sql.SQL("row.{0} = repeated.{0}").format(sql.Identifier(column)) for column in key
    )
    connection.execute(
        sql.SQL(
            """
            CREATE TEMPORARY TABLE repeated ON COMMIT DROP AS
            SELECT {names}, min(ctid) AS kept FROM {table} GROUP BY {names} HAVING count(*) > 1
            """
        ).format(table=expected(table), names=names)
    )
    # Few, and the planner is to know that.
    connection.execute("ANALYZE repeated")
    connection.execute(
        sql.SQL("DELETE FROM {} AS row USING repeated WHERE {} AND row.ctid <> repeated.kept").format(
            expected(table), same
        )
    )
    connection.execute("DROP TABLE repeated")


def _steps(connection: Connection, schema: str) -> Iterator[Step]:
    """Give what sessions are made of, sorted by the database: it sorts more than fits into memory.

    Events that the pipeline lists as older than its sessions reach are left out: they leave sessions alone.
    """
    selects = []
    for table, event_type in _SESSION_TABLES.items():
        renamed = {"event_type": event_type}
        columns = [
            sql.SQL("NULL::numeric AS amount_base")
            if name == "amount_base" and table != TABLE_OF[Transaction]
            else sql.SQL("{} AS {}").format(sql.Identifier(renamed.get(name, name)), sql.Identifier(name))
            for name in Step._fields
        ]
        selects.append(
            sql.SQL("SELECT {} FROM {} WHERE visitor_id IS NOT NULL").format(
                sql.SQL(", ").join(columns), expected(table)
            )
        )
    query = sql.SQL(
        """
        SELECT * FROM ({}) AS steps
        WHERE NOT EXISTS (
            SELECT FROM {} AS late
            WHERE late.event_id = steps.event_id AND late.outcome = 'beyond_retention'
        )
        ORDER BY visitor_id COLLATE "C", occurred_at, event_id
        """
    ).format(sql.SQL(" UNION ALL ").join(selects), sql.Identifier(schema, "silver_late_events"))
    with connection.cursor("steps", scrollable=False) as cursor:
        cursor.itersize = _FETCHED_ROWS
        for row in cursor.execute(query, binary=True):
            yield Step(*row)


def _chunks(lines: Iterator[LedgerLine], size: int) -> Iterator[list[LedgerLine]]:
    while chunk := list(islice(lines, size)):
        yield chunk
