"""Gold is built aside and published whole: readers see one build or the next, and of a failed one nothing."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from conftest import changed_by_hand, gold_command, migrated_database, odd_level
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.gold import build, publish
from pipeline.gold.build import LOCK_KEY, PROJECT, GoldRun, build_gold
from pipeline.gold.publication import PublicationError, Shape, find_changes
from pipeline.gold.publish import Published, Run
from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from pipeline.verify import check_conservation
from sinks.roles import prepare_reader

# dbt and what it stands on leave files and sockets to the garbage collector
pytestmark = [pytest.mark.filterwarnings("default")]
real = pytest.mark.real
TABLES = sorted(path.stem for path in (PROJECT / "models" / "gold").glob("*.sql"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

# Publication by itself: tables of the tests' own, in a database without dbt.


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


# The whole: silver that changes, dbt, and readers.


class Shop:
    """A database whose silver gets purchases, and gold built from it by a project with a test of its own."""

    def __init__(self, settings: Settings, project: Path) -> None:
        self.settings, self.project = settings, project
        self.url = settings.postgres_url.get_secret_value()
        self.bought = Decimal(0)

    def buy(self, amount: int) -> None:
        """Store a purchase, of somebody new, of an item of its own category."""
        day = NOON - timedelta(days=amount)
        with psycopg.connect(self.url) as connection:
            connection.execute(
                """
                INSERT INTO silver.silver_transactions (event_id, content_hash, occurred_at, arrived_at,
                    stream, stream_epoch, shard, sequence_number, sub_sequence_number, transaction_type,
                    order_id, customer_id, amount, amount_base, currency, items, category)
                VALUES (gen_random_uuid(), 0, %(day)s, %(day)s,
                    'transaction-events', 0, '', '', 0, 'purchase',
                    %(name)s, %(name)s, %(amount)s, %(amount)s, 'USD', jsonb_build_array(jsonb_build_object(
                        'product_id', %(name)s::text, 'category', %(name)s::text, 'quantity', 1,
                        'unit_price', %(amount)s::numeric)), %(name)s)
                """,
                {"day": day, "name": f"number {amount}", "amount": amount},
            )
            connection.execute(
                """
                INSERT INTO silver.silver_customers (customer_id, created_at, first_seen_at, last_seen_at)
                VALUES (%(name)s, %(day)s, %(day)s, %(day)s)
                """,
                {"day": day, "name": f"number {amount}"},
            )
            connection.execute(
                "INSERT INTO ops.ops_changes (kind, key) VALUES ('customer', %s)", (f"number {amount}",)
            )
        self.bought += amount

    def take_back(self, amount: int) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "DELETE FROM silver.silver_transactions WHERE order_id = %s", (f"number {amount}",)
            )
            connection.execute(
                "DELETE FROM silver.silver_customers WHERE customer_id = %s", (f"number {amount}",)
            )
            changed_by_hand(connection)
        self.bought -= amount

    def build(self) -> GoldRun:
        return build_gold(self.settings, as_of=NOON, project=self.project)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def image(self) -> dict[str, list[tuple[Any, ...]]]:
        """Give every row of gold, with where it is and who wrote it."""
        return {
            name: self.rows(f"SELECT tableoid, ctid, xmin, t::text FROM gold.{name} AS t ORDER BY ctid")
            for name in TABLES
        }


REFUSED = 666
"""What the shop's own test does not let into gold."""


@pytest.fixture(scope="module")
def shop(platform: LocalPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    project = tmp_path_factory.mktemp("project") / "dbt"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "data_tests" / "nothing_of_the_refused.sql").write_text(
        f"select * from {{{{ ref('gold_business_metrics') }}}} where revenue = {REFUSED}"
    )
    with migrated_database(platform) as url:
        shop = Shop(Settings(_env_file=None, postgres_url=url, home=tmp_path_factory.mktemp("home")), project)
        for amount in (1, 2, 3):
            shop.buy(amount)
        run = shop.build()
        assert run.published, run.message
        yield shop


SUMS = (
    "SELECT sum(revenue) FROM gold.gold_business_metrics WHERE grain = 'day'",
    "SELECT sum(revenue) FROM gold.gold_business_metrics WHERE grain = 'month'",
    "SELECT sum(revenue) FROM gold.gold_customer_analytics",
    "SELECT sum(ltv_historical) FROM gold.gold_customer_analytics",
    "SELECT sum(revenue) FROM gold.gold_cohort_analysis",
    "SELECT sum(revenue_to_date) FROM gold.gold_acquisition",
    "SELECT sum(revenue) FROM gold.gold_product_performance",
    *(
        f"SELECT sum(revenue) FROM gold.{table} WHERE model = '{model}'"
        for table in ("gold_revenue_attribution", "gold_channel_returns")
        for model in ("first", "linear", "time_decay")
    ),
)
LAST = "SELECT run_id FROM ops.ops_dbt_runs WHERE published_at IS NOT NULL ORDER BY published_at DESC LIMIT 1"


def look(connection: psycopg.Connection[Any]) -> tuple[str, set[Decimal]]:
    """Read all of gold in a transaction: of which run it says it is, and the different sums of it."""
    with connection.transaction():
        sums = {row[0] for query in SUMS for row in connection.execute(query.encode())}
        for name in TABLES:
            connection.execute(f"SELECT * FROM gold.{name}".encode()).fetchall()
        [(run,)] = connection.execute(LAST.encode()).fetchall()
    return run, sums


@contextmanager
def watching(url: str, seen: list[tuple[str, set[Decimal]]]) -> Iterator[None]:
    """Look again and again meanwhile, on another thread; an error of it is one of the block."""
    done, failures = threading.Event(), []

    def watch() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.execute("SET lock_timeout = '1s'")
                while not done.wait(0.02):
                    seen.append(look(connection))
        except Exception as error:  # noqa: BLE001  (raised where it is waited for)
            failures.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
        time.sleep(0.5)  # the last build wants to be looked at, too
    finally:
        done.set()
        thread.join()
    if failures:
        raise failures[0]


@real
def test_readers_see_one_build_in_all_tables_whatever_happens(shop: Shop) -> None:
    [(first,)], [(before,)] = shop.rows(LAST), shop.rows(SUMS[0])
    expected = {first: before}
    seen: list[tuple[str, set[Decimal]]] = []
    with psycopg.connect(shop.url) as patient, watching(shop.url, seen):
        patient.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert patient.execute(SUMS[0].encode()).fetchall() == [(before,)]
        for change in (lambda: shop.buy(40), lambda: shop.take_back(40)):
            change()
            run = shop.build()
            assert run.published, run.message
            assert run.rows_added > 0
            expected[run.run_id] = shop.bought
        # who has begun before the first of them still sees what was then, in tables not looked at before
        for query in SUMS:
            assert patient.execute(query.encode()).fetchall() == [(before,)]
    assert {run for run, _ in seen} == expected.keys()
    for run, sums in seen:
        assert sums == {expected[run]}


@real
def test_what_did_not_change_is_not_written(shop: Shop) -> None:
    before = shop.image()
    shop.buy(50)
    run = shop.build()
    after = shop.image()
    for name in TABLES:
        assert set(before[name]) & set(after[name]) or not before[name], name
    [(business,)] = shop.rows("SELECT count(*) FROM gold.gold_business_metrics")
    assert 0 < run.rows_removed <= run.rows_added < business


THE_LAST_STANDS = "; the last good gold stands, as of 2026-03-01 12:00:00 UTC"


@real
def test_a_test_of_gold_that_does_not_hold_leaves_gold_as_it_was_until_silver_is_mended(shop: Shop) -> None:
    before = shop.image()
    shop.buy(REFUSED)
    run = shop.build()
    assert (run.status, run.published, run.ok) == ("failed", False, False)
    assert run.failed_nodes == ("nothing_of_the_refused",)
    assert THE_LAST_STANDS in run.summary()
    # all was built, for the operator to look at, and nothing of it is gold
    for built in ("gold_next.gold_customer_analytics", "core.fct_orders"):
        assert shop.rows(f"SELECT count(*) FROM {built} WHERE revenue = {REFUSED}") == [(1,)]
    assert shop.image() == before
    report = check_conservation(shop.url)
    assert (report.gold_is_older, report.gold_copy) == (True, None)
    shop.take_back(REFUSED)
    shop.buy(60)
    run = shop.build()
    assert (run.status, run.published) == ("success", True)
    assert shop.rows(SUMS[0]) == [(shop.bought,)]
    assert not check_conservation(shop.url).gold_is_older


@real
def test_a_test_of_what_gold_is_built_from_that_does_not_hold_leaves_gold_as_it_was(shop: Shop) -> None:
    before = shop.image()
    with odd_level(shop.settings):
        run = shop.build()
    assert (run.status, run.published) == ("failed", False)
    assert run.summary().endswith(THE_LAST_STANDS)
    assert shop.image() == before


@real
def test_a_process_that_is_killed_while_it_publishes_leaves_gold_as_it_was(shop: Shop) -> None:
    before = shop.image()
    shop.buy(80)
    known = [run for (run,) in shop.rows("SELECT run_id FROM ops.ops_dbt_runs")]
    with (
        psycopg.connect(shop.url) as other,
        psycopg.connect(shop.url, autocommit=True) as watcher,
        gold_command(shop.settings, "--as-of", NOON.isoformat()) as process,
    ):

        def wait_for(connection: psycopg.Connection[Any], query: str, *values: Any) -> list[tuple[Any, ...]]:
            while not (rows := connection.execute(query.encode(), values).fetchall()):
                connection.rollback()
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            return rows

        # all is written then, but for the note that it is published, which is the last statement
        [(run,)] = wait_for(
            other, "SELECT run_id FROM ops.ops_dbt_runs WHERE run_id <> ALL (%s) FOR UPDATE", known
        )
        wait_for(
            watcher,
            """
            SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s
            """,
            "%published_at = clock_timestamp()%",
        )
        assert shop.image() == before
        process.kill()
        process.wait()
        other.rollback()
        while watcher.execute(
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s", (LOCK_KEY % 2**32,)
        ).fetchall():
            time.sleep(0.02)
    assert shop.image() == before
    assert shop.build().published
    assert shop.rows(SUMS[0]) == [(shop.bought,)]
    assert shop.rows(f"SELECT status, published_at FROM ops.ops_dbt_runs WHERE run_id = '{run}'") == [
        ("interrupted", None)
    ]


@real
def test_a_build_that_has_lost_its_connection_on_the_way_publishes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.image()
    score = build.score_customers

    def cut(url: str, as_of: datetime) -> list[str]:
        # as a crash of the server does, which empties the tables aside
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON oid = database
                WHERE locktype = 'advisory' AND objid = %s AND datname = current_database()
                """,
                (LOCK_KEY % 2**32,),
            )
        return score(url, as_of)

    monkeypatch.setattr(build, "score_customers", cut)
    shop.buy(90)
    with pytest.raises(UserError, match="gold was not built to its end"):
        shop.build()
    assert shop.image() == before


@real
def test_what_cannot_be_published_is_an_error_and_said(shop: Shop) -> None:
    with psycopg.connect(shop.url) as connection:
        connection.execute("ALTER TABLE gold.gold_acquisition ADD COLUMN old integer")
        connection.execute("CREATE VIEW gold.of_somebody AS SELECT old FROM gold.gold_acquisition")
    before = shop.image()
    run = shop.build()
    assert (run.status, run.published) == ("error", False)
    assert "; gold was not published: a column is gone or of another type now, but view " in run.summary()
    assert THE_LAST_STANDS in run.summary()
    assert shop.rows(f"SELECT status, published_at FROM ops.ops_dbt_runs WHERE run_id = '{run.run_id}'") == [
        ("error", None)
    ]
    assert shop.image() == before
    with psycopg.connect(shop.url) as connection:
        connection.execute("DROP VIEW gold.of_somebody")
        connection.execute("ALTER TABLE gold.gold_acquisition DROP COLUMN old")
