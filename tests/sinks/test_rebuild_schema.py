from collections.abc import Iterator

import psycopg
import pytest
from sink_examples import NOON, clean, purchase, raw

from sinks.database import Database
from sinks.rebuild_schema import BOOKS, create_silver
from sinks.registry import SINKS, open_database
from streams.engine.batch import placed
from streams.topics import CLEAN_EVENTS, raw_topic

pytestmark = pytest.mark.real

NEXT = "silver_next"
SHAPE = """
    SELECT c.relname, c.relkind::text, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
        pg_get_indexdef(c.oid), a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
    FROM pg_class c
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p', 'i', 'I')
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = %s::regnamespace
"""


@pytest.fixture
def rebuilt(migrated_url: str) -> Iterator[Database]:
    """Writes to tables of a schema of its own, beside the live ones."""
    with psycopg.connect(migrated_url) as connection:
        create_silver(connection, NEXT)
    database = open_database(migrated_url, retry_seconds=30, search_path=(NEXT, "bronze", "ops"))
    yield database
    database.close()
    with psycopg.connect(migrated_url) as connection:
        connection.execute(f"DROP SCHEMA {NEXT} CASCADE".encode())


def described(url: str, schema: str, *, books: bool) -> list[str]:
    """All tables, indexes, columns and constraints of a schema: those of the books, or all others."""
    with psycopg.connect(url) as connection:
        rows = [
            row for query in (SHAPE, CONSTRAINTS) for row in connection.execute(query, (schema,)).fetchall()
        ]
    named = [(str(row[0]).removeprefix(f"{schema}."), *row[1:]) for row in rows]
    return sorted(repr(row).replace(f"{schema}.", "") for row in named if row[0].startswith(BOOKS) == books)


@pytest.mark.usefixtures("rebuilt")
@pytest.mark.parametrize(("live", "books"), [("silver", False), ("ops", True)])
def test_the_copies_are_as_the_migrations_made_the_live_ones(
    migrated_url: str, live: str, *, books: bool
) -> None:
    expected = described(migrated_url, live, books=books)
    assert len(expected) > 10
    assert described(migrated_url, NEXT, books=books) == expected


def test_writers_find_their_tables_by_the_search_path(rebuilt: Database, store: Database) -> None:
    SINKS[raw_topic("transaction-events")](rebuilt, placed([raw(b"{}", 1, at=NOON)], 0))
    SINKS[CLEAN_EVENTS](rebuilt, placed([clean(purchase(1), 1)], 0))
    count = (
        "SELECT (SELECT count(*) FROM {0}.silver_transactions), (SELECT count(*) FROM {0}.silver_customers)"
    )
    changes = "SELECT count(*) FROM {0}.ops_changes"
    bronze = "SELECT count(*) FROM bronze.bronze_transaction_events"

    def rows(query: str) -> object:
        return store.transact(lambda connection: connection.execute(query.encode()).fetchone())

    assert rows(count.format("silver")) == (0, 0)
    assert rows(count.format(NEXT)) == (1, 1)
    assert rows(changes.format("ops")) == (0,)
    assert rows(changes.format(NEXT)) == (2,)
    assert rows(bronze) == (1,)
