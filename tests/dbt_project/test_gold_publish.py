"""Gold is built aside and published whole: readers see one build or the next, and of a failed one nothing."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import changed_by_hand, gold_command, migrated_database, odd_level

from pipeline.errors import UserError
from pipeline.gold import build
from pipeline.gold.build import LOCK_KEY, PROJECT, GoldRun, build_gold
from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from pipeline.verify import check_conservation

# dbt and what it stands on leave files and sockets to the garbage collector
pytestmark = [pytest.mark.filterwarnings("default")]
real = pytest.mark.real
TABLES = sorted(path.stem for path in (PROJECT / "models" / "gold").glob("*.sql"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


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
