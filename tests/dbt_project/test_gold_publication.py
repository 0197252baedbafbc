"""Tables of gold are made those that were built aside, and only what differs is written."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from conftest import migrated_database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.gold import publish
from pipeline.gold.publication import PublicationError, Shape, find_changes, key_of
from pipeline.gold.publish import Published, Run
from pipeline.local.platform import LocalPlatform
from sinks.roles import prepare_reader

real = pytest.mark.real
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Shelf(NamedTuple):
    """A database with a schema aside, and a connection to write there and to publish by."""

    url: str
    connection: psycopg.Connection[Any]

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode()).fetchall()

    def publish(self, *names: str) -> Published:
        return publish.publish(self.connection, names, Run("run", NOON, NOON, "7"))


@pytest.fixture(scope="module")
def database_of_shelf(platform: LocalPlatform) -> Iterator[str]:
    with migrated_database(platform) as url:
        yield url


@pytest.fixture
def shelf(database_of_shelf: str) -> Iterator[Shelf]:
    with psycopg.connect(database_of_shelf, autocommit=True) as connection:
        connection.execute("""
            DROP SCHEMA IF EXISTS gold CASCADE;
            DROP SCHEMA IF EXISTS gold_next CASCADE;
            CREATE SCHEMA gold;
            CREATE SCHEMA gold_next;
            TRUNCATE ops.ops_dbt_runs;
            INSERT INTO ops.ops_dbt_runs (run_id, started_at) VALUES ('run', now());
        """)
        yield Shelf(database_of_shelf, connection)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "ATTEMPTS", 2)
    monkeypatch.setattr(publish, "PAUSE_SECONDS", 0.0)


COLUMNS = "key integer, price numeric, ratio double precision, name text, dbt_updated_at timestamptz"
CONTENT = "ROW(key, price, ratio, name)::text"
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 2)),
        st.sampled_from([None, "1", "1.0", "1.00", "NaN"]),
        st.sampled_from([None, "0", "-0", "NaN", "0.1", "0.10000000000000002"]),
        st.sampled_from([None, "", "null", '"', "a,b", "(", "\\", "é"]),
    ),
    max_size=12,
)


@real
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ROWS, after=ROWS)
def test_what_is_published_is_what_was_built_and_only_differences_are_written(
    shelf: Shelf, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    shelf.run(
        "DROP TABLE IF EXISTS gold_next.t, gold.t",
        f"CREATE UNLOGGED TABLE gold_next.t ({COLUMNS})",
    )
    found: list[dict[str, str]] = []
    for step, rows in enumerate((before, after)):
        shelf.run("TRUNCATE gold_next.t")
        with shelf.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO gold_next.t VALUES (%s, %s, %s, %s, %s)",
                [(*row, NOON + timedelta(hours=step)) for row in rows],
            )
        written = shelf.publish("t")
        live = shelf.rows(f"SELECT ctid::text, xmin::text || {CONTENT} || dbt_updated_at FROM gold.t")
        found.append(dict(live))
        of = {
            table: Counter(shelf.rows(f"SELECT {CONTENT} FROM {table}"))
            for table in ("gold.t", "gold_next.t")
        }
        assert of["gold.t"] == of["gold_next.t"]
    first, second = (Counter(map(repr, rows)) for rows in (before, after))
    assert (written.added, written.removed) == ((second - first).total(), (first - second).total())
    # what did not change was not touched: not its place, nor the transaction that wrote it, nor its time
    assert len(found[0].items() & found[1].items()) == (first & second).total()


@real
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ROWS, after=ROWS)
def test_a_table_with_a_key_is_published_alike_also_where_its_key_is_null(
    shelf: Shelf, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    shelf.run(
        "DROP TABLE IF EXISTS gold_next.t, gold.t",
        f"CREATE UNLOGGED TABLE gold_next.t ({COLUMNS})",
        "CREATE UNIQUE INDEX ON gold_next.t (key, name)",
    )
    for step, rows in enumerate((before, after)):
        # one of each key, but for those that have a null in it
        kept = list({(row[0], row[3]): row for row in rows if None not in (row[0], row[3])}.values())
        kept += [row for row in rows if None in (row[0], row[3])]
        was = Counter(shelf.rows(f"SELECT {CONTENT} FROM gold.t")) if step else Counter()
        shelf.run("TRUNCATE gold_next.t")
        with shelf.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO gold_next.t VALUES (%s, %s, %s, %s, %s)",
                [(*row, NOON + timedelta(hours=step)) for row in kept],
            )
        written = shelf.publish("t")
        found = Counter(shelf.rows(f"SELECT {CONTENT} FROM gold.t"))
        assert found == Counter(shelf.rows(f"SELECT {CONTENT} FROM gold_next.t"))
        assert (written.added, written.removed) == ((found - was).total(), (was - found).total())


@pytest.mark.parametrize(
    ("aside", "live", "key"),
    [
        ("UNIQUE INDEX|btree (day, model)", "UNIQUE INDEX|btree (day, model)", ("day", "model")),
        ("UNIQUE INDEX|btree (day)", "UNIQUE INDEX|btree (model)", ()),
        ("INDEX|btree (day)", "INDEX|btree (day)", ()),
        ("UNIQUE INDEX|btree (day) WHERE (revenue > 0)", "UNIQUE INDEX|btree (day) WHERE (revenue > 0)", ()),
        ("UNIQUE INDEX|btree (lower(name))", "UNIQUE INDEX|btree (lower(name))", ()),
    ],
)
def test_a_key_is_what_is_unique_in_both_tables(aside: str, live: str, key: tuple[str, ...]) -> None:
    assert key_of(Shape({}, frozenset([aside])), Shape({}, frozenset([live]))) == key


@real
def test_a_table_that_is_not_there_is_made_with_its_indexes_and_for_good(shelf: Shelf) -> None:
    shelf.run(
        "DROP SCHEMA gold",  # made, too
        f"CREATE UNLOGGED TABLE gold_next.t ({COLUMNS})",
        "CREATE UNIQUE INDEX ON gold_next.t (key) INCLUDE (name)",
        "INSERT INTO gold_next.t (key) VALUES (1), (2)",
    )
    assert shelf.publish("t") == (2, 0, [])
    assert shelf.rows("SELECT key FROM gold.t ORDER BY 1") == [(1,), (2,)]
    assert shelf.rows("SELECT relpersistence FROM pg_class WHERE oid = 'gold.t'::regclass") == [("p",)]
    [(index,)] = shelf.rows("SELECT indexdef FROM pg_indexes WHERE schemaname = 'gold'")
    assert index.startswith("CREATE UNIQUE INDEX")
    assert index.endswith("ON gold.t USING btree (key) INCLUDE (name)")
    assert shelf.rows("SELECT reltuples FROM pg_class WHERE oid = 'gold.t'::regclass") == [(2,)]


@real
def test_an_index_that_is_new_is_made_and_one_of_somebodys_stays(shelf: Shelf) -> None:
    shelf.run("CREATE TABLE gold_next.t (key integer, name text)", "INSERT INTO gold_next.t VALUES (1), (1)")
    shelf.publish("t")
    shelf.run(
        "CREATE INDEX somebodys ON gold.t (name)",
        "TRUNCATE gold_next.t",
        "INSERT INTO gold_next.t VALUES (1), (2)",
        "CREATE UNIQUE INDEX ON gold_next.t (key)",
    )
    for _ in range(2):
        shelf.publish("t")  # the second has nothing to do
        assert shelf.rows("SELECT indexname FROM pg_indexes WHERE schemaname = 'gold' ORDER BY 1") == [
            ("somebodys",),
            ("t_key_idx",),
        ]


@real
def test_columns_that_changed_are_published_where_they_are(shelf: Shelf) -> None:
    shelf.run(
        "CREATE TABLE gold_next.t (key integer, old text, kind integer)",
        "INSERT INTO gold_next.t VALUES (1, 'a', 7), (2, 'b', 8)",
    )
    shelf.publish("t")
    shelf.run(
        "CREATE VIEW gold.of_somebody AS SELECT key FROM gold.t",
        "DROP TABLE gold_next.t",
        "CREATE TABLE gold_next.t (fresh numeric(18, 2), kind text, key integer)",
        "INSERT INTO gold_next.t VALUES (1.5, 'seven', 1), (2.5, 'eight', 3)",
    )
    with psycopg.connect(shelf.url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT")
        shelf.publish("t")
        # who began before sees the rows of then, not an empty table
        assert reader.execute("SELECT key FROM gold.t ORDER BY 1").fetchall() == [(1,), (2,)]
    assert shelf.rows("SELECT to_jsonb(t) FROM gold.t ORDER BY key") == [
        ({"key": 1, "fresh": 1.5, "kind": "seven"},),
        ({"key": 3, "fresh": 2.5, "kind": "eight"},),
    ]
    assert shelf.rows("SELECT key FROM gold.of_somebody ORDER BY 1") == [(1,), (3,)]
    assert shelf.rows("""
        SELECT format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = 'gold.t'::regclass AND attname = 'fresh'
    """) == [("numeric(18,2)",)]


@real
def test_a_view_on_a_column_that_is_gone_is_told_of_and_gold_stays(shelf: Shelf) -> None:
    shelf.run(
        "CREATE TABLE gold_next.t (key integer, old text)", "CREATE TABLE gold_next.other (key integer)"
    )
    shelf.publish("t", "other")
    shelf.run(
        "CREATE VIEW gold.of_somebody AS SELECT old FROM gold.t",
        "ALTER TABLE gold_next.t DROP COLUMN old",
        "INSERT INTO gold_next.other VALUES (1)",
        "UPDATE ops.ops_dbt_runs SET published_at = NULL",
    )
    with pytest.raises(
        PublicationError, match=r"view gold.of_somebody depends on column old of table gold.t"
    ):
        shelf.publish("t", "other")
    assert shelf.rows("SELECT count(*) FROM gold.other") == [(0,)]
    assert shelf.rows("SELECT published_at FROM ops.ops_dbt_runs") == [(None,)]


@real
def test_only_tables_of_ours_are_dropped_once_the_project_has_them_no_more(shelf: Shelf) -> None:
    shelf.run(*(f"CREATE TABLE gold_next.{name} (key integer)" for name in ("t", "old", "viewed")))
    shelf.publish("t", "old", "viewed")
    shelf.run(
        "CREATE TABLE gold.of_somebody (key integer)",
        "CREATE VIEW gold.view_of_somebody AS SELECT key FROM gold.viewed",
    )
    kept = "gold.viewed is built no more, and kept as it was only since view gold.view_of_somebody depends on"
    for _ in range(2):
        [note] = shelf.publish("t").notes
        assert note.startswith(kept)
        assert shelf.rows(
            "SELECT relname FROM pg_class WHERE relnamespace = 'gold'::regnamespace ORDER BY 1"
        ) == [
            ("of_somebody",),
            ("t",),
            ("view_of_somebody",),
            ("viewed",),
        ]
    shelf.run("DROP VIEW gold.view_of_somebody")
    assert shelf.publish("t").notes == []
    assert shelf.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'gold'::regnamespace ORDER BY 1"
    ) == [
        ("of_somebody",),
        ("t",),
    ]
    assert shelf.rows("SELECT relname FROM pg_class WHERE relnamespace = 'gold_next'::regnamespace") == [
        ("t",)
    ]


@real
def test_what_dbt_had_made_in_gold_before_is_taken_over(shelf: Shelf) -> None:
    shelf.run(
        "CREATE TABLE gold.t AS SELECT 1 AS key, 'same' AS name UNION SELECT 2, 'gone'",
        "CREATE TABLE gold_next.t AS SELECT 1 AS key, 'same' AS name",
    )
    assert shelf.publish("t") == (0, 1, [])
    assert shelf.publish() == (0, 0, [])
    assert shelf.rows("SELECT to_regclass('gold.t')") == [(None,)]


@real
@pytest.mark.usefixtures("impatient")
def test_readers_are_not_waited_for_and_do_not_wait(shelf: Shelf) -> None:
    shelf.run("CREATE TABLE gold_next.t AS SELECT 1 AS key")
    shelf.publish("t")
    shelf.run("UPDATE gold_next.t SET key = 2")
    with psycopg.connect(shelf.url) as reader:
        reader.execute("SET lock_timeout = '50ms'")
        assert reader.execute("SELECT key FROM gold.t").fetchall() == [(1,)]
        shelf.publish("t")
        assert reader.execute("SELECT key FROM gold.t").fetchall() == [(2,)]
        # columns of another kind have to wait for readers that are at it; they are given up in time
        shelf.run("ALTER TABLE gold_next.t ALTER key TYPE text")
        with pytest.raises(PublicationError, match="somebody holds a lock on a table of gold"):
            shelf.publish("t")
        assert reader.execute("SELECT key FROM gold.t").fetchall() == [(2,)]
    shelf.publish("t")
    assert shelf.rows("SELECT key FROM gold.t") == [("2",)]


@real
def test_a_lock_that_is_let_go_is_waited_for(shelf: Shelf) -> None:
    shelf.run("CREATE TABLE gold_next.t AS SELECT 1 AS key")
    shelf.publish("t")
    shelf.run("UPDATE gold_next.t SET key = 2")
    with psycopg.connect(shelf.url) as other:
        other.execute("LOCK TABLE gold.t IN SHARE MODE")
        threading.Timer(1.5, other.rollback).start()
        assert shelf.publish("t") == (1, 1, [])


@real
def test_readers_read_a_new_table_at_once(shelf: Shelf) -> None:
    role = f"reader_{time.time_ns()}"
    assert prepare_reader(shelf.url, role, password="a-password") is None
    try:
        shelf.run("CREATE TABLE gold_next.t AS SELECT 1 AS key")
        shelf.publish("t")
        assert shelf.rows(f"SELECT has_table_privilege('{role}', 'gold.t', 'SELECT')") == [(True,)]
        assert shelf.rows(f"SELECT has_schema_privilege('{role}', 'gold_next', 'USAGE')") == [(False,)]
    finally:
        shelf.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("aside", "live", "why"),
    [
        ({}, {}, r"gold_next\.t is no table"),
        ({"t": Shape({}, is_table=False)}, {}, r"gold_next\.t is no table"),
        ({"t": Shape({})}, {"t": Shape({}, is_table=False)}, r"gold\.t is not a table, but has the name of"),
    ],
)
def test_what_is_no_table_is_not_published(aside: dict[str, Shape], live: dict[str, Shape], why: str) -> None:
    with pytest.raises(PublicationError, match=why):
        find_changes(["t"], aside, live)


NOTHING_NOTED = "CREATE SCHEMA IF NOT EXISTS staging; DROP TABLE IF EXISTS staging.made_again"


@pytest.fixture
def affected(shelf: Shelf) -> Iterator[Shelf]:
    """A table with two rows, of which it is noted that only those of key 1 were made again."""
    shelf.run(
        NOTHING_NOTED,
        "CREATE TABLE gold_next.t (key integer, name text)",
        "INSERT INTO gold_next.t VALUES (1, 'a'), (2, 'b')",
    )
    shelf.publish("t")
    shelf.run(
        "CREATE TABLE staging.made_again (relation text, condition text)",
        "INSERT INTO staging.made_again VALUES ('t', 'key IN (SELECT 1)'), ('other', 'false')",
    )
    yield shelf
    shelf.run(NOTHING_NOTED)


@real
def test_of_what_was_not_made_again_nothing_is_compared(affected: Shelf) -> None:
    affected.run("UPDATE gold_next.t SET name = name || ' anew'")
    assert affected.publish("t") == (1, 1, [])
    assert affected.rows("SELECT * FROM gold.t ORDER BY 1") == [(1, "a anew"), (2, "b")]


@real
@pytest.mark.parametrize(
    ("by_somebody", "differing"),
    [
        ("DELETE FROM gold.t WHERE key = 2", (1, 0)),
        ("INSERT INTO gold.t VALUES (3, 'c')", (0, 1)),
        ("TRUNCATE gold.t", (2, 0)),
        ("DROP TABLE gold.t", (2, 0)),
        ("ALTER TABLE gold.t DROP COLUMN name", (2, 2)),
        ("COMMENT ON TABLE gold.t IS NULL; UPDATE gold.t SET name = 'c' WHERE key = 2", (1, 1)),
    ],
)
def test_what_somebody_did_to_gold_is_put_right_though_nothing_was_affected(
    affected: Shelf, by_somebody: str, differing: tuple[int, int]
) -> None:
    affected.run(by_somebody)
    assert affected.publish("t")[:2] == differing
    assert affected.rows("SELECT * FROM gold.t ORDER BY 1") == [(1, "a"), (2, "b")]
