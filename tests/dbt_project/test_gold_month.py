"""Gold of a month of the synthetic shop against its ledger, computed again without the pipeline and dbt."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from click.testing import CliRunner
from conftest import migrated_database
from gold_comparison import Expected, differences
from gold_month import END, HISTORY, send_history, told_by
from gold_reference import MODELS, Reference
from gold_tables import TABLES, gold_of
from gold_world import Row, World
from psycopg import sql
from psycopg.rows import dict_row

from pipeline.commands.quality import quality
from pipeline.gold.build import GoldRun, build_gold
from pipeline.local.platform import LocalPlatform
from pipeline.reconcile import oracle_config, reconcile
from pipeline.settings import Settings
from producer.ledger import read_ledger, summarise_ledger
from producer.run import ProduceConfig, now

pytestmark = [
    pytest.mark.real,
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]
WHEN: Final = {
    "before the last events": END - timedelta(hours=30),
    "after half a year of nothing": END + timedelta(days=183),
}
FRESHNESS: Final = {
    "silver_transactions": "loaded_at",
    "silver_product_events": "loaded_at",
    "silver_customer_events": "loaded_at",
    "silver_system_logs": "loaded_at",
    "silver_customers": "updated_at",
    "silver_products": "updated_at",
    "silver_sessions": "updated_at",
}


@dataclass
class Month:
    """A database with the month in silver."""

    settings: Settings
    ledger: Path
    world: World

    @property
    def url(self) -> str:
        return self.settings.postgres_url.get_secret_value()


@dataclass
class Gold:
    """Gold as of an instant, as it is and as it must be."""

    as_of: datetime
    run: GoldRun
    reference: Reference
    expected: dict[str, Expected]
    found: dict[str, list[Row]]


@pytest.fixture(scope="module")
def month(platform: LocalPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    folder = tmp_path_factory.mktemp("month")
    with migrated_database(platform) as url:
        settings = Settings(_env_file=None, postgres_url=url, home=folder / "home")
        ledger = send_history(settings, HISTORY, folder)
        yield Month(settings, ledger, told_by(ledger, settings))


@pytest.fixture(scope="module", params=WHEN)
def gold(month: Month, request: pytest.FixtureRequest) -> Gold:
    as_of = WHEN[request.param]
    run = build_gold(month.settings, as_of=as_of)
    reference = Reference(month.world, as_of)
    return Gold(as_of, run, reference, gold_of(reference), tables_of(month.url))


def tables_of(url: str) -> dict[str, list[Row]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return {
            table: connection.execute(
                sql.SQL("SELECT * FROM {}").format(sql.Identifier("gold", table))
            ).fetchall()
            for table in TABLES
        }


@contextmanager
def copied(month: Month, folder: Path) -> Iterator[Settings]:
    """Give settings of a copy of the database, to be spoilt."""
    server, _, name = month.url.rpartition("/")
    copy = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(name))
        )
        yield Settings(_env_file=None, postgres_url=f"{server}/{copy}", home=folder)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(copy)))


def test_the_month_has_come_through_with_all_that_goes_wrong(month: Month) -> None:
    sent = summarise_ledger(read_ledger(month.ledger))
    assert sent.records == 50_000
    assert all(sent.streams.values())
    assert min(sent.kinds["duplicate"], sent.kinds["broken"], sent.late) >= 250
    silver = reconcile(month.url, month.ledger, oracle_config(month.settings))
    assert list(map(str, silver.differences)) == []
    assert silver.agrees


def test_gold_of_the_month_is_built_and_every_test_of_it_passes(gold: Gold) -> None:
    assert (gold.run.status, gold.run.message) == ("success", "")
    assert gold.run.tests_passed > 100
    assert gold.run.as_of == gold.as_of


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_what_the_ledger_gives(gold: Gold, table: str) -> None:
    assert differences(gold.expected[table], gold.found[table]) == []


def test_the_month_has_something_of_all_that_is_compared(gold: Gold) -> None:
    months = [
        row for (grain, _), row in gold.expected["gold_business_metrics"].rows.items() if grain == "month"
    ]
    for column in (
        "revenue",
        "customers_new",
        "sessions",
        "mrr",
        "mrr_new",
        "mrr_churned",
        "marketing_spend",
    ):
        assert any(row[column] for row in months), column
    assert len(gold.reference.refunds) > 20
    segments = {row["segment"] for row in gold.expected["gold_customer_analytics"].rows.values()}
    assert len(segments - {None}) >= 8
    credited = gold.expected["gold_revenue_attribution"].rows
    by_model = {model: {k[:1] + k[2:]: v for k, v in credited.items() if k[1] == model} for model in MODELS}
    assert all(by_model[one] != by_model[other] for one in MODELS for other in MODELS if one != other)
    cohorts = gold.expected["gold_cohort_analysis"].rows
    assert any(row["active"] for (_, since), row in cohorts.items() if since)


@pytest.mark.parametrize("table", TABLES)
def test_no_column_can_be_wrong_unseen(gold: Gold, table: str) -> None:
    expected = gold.expected[table]
    for column in next(iter(expected.rows.values())):
        key, row = max(expected.rows.items(), key=lambda item: item[1][column] is not None)
        [found] = [found for found in gold.found[table] if key == tuple(found[name] for name in expected.key)]
        alone = Expected(expected.key, {key: row})
        assert differences(alone, [found]) == []
        [told] = differences(alone, [{**found, column: nearly(found[column])}])
        assert told.startswith(f"{key}: {column} is ")


def test_no_row_can_be_missing_doubled_or_invented_unseen(gold: Gold) -> None:
    for table, expected in gold.expected.items():
        first, *others = gold.found[table]
        assert [line.endswith(" is missing") for line in differences(expected, others)] == [True]
        assert differences(expected, [first, first, *others]) == ["1 rows with the key of another"]
        invented = {**first, expected.key[0]: nearly(None)}
        assert [
            line.endswith(" is too much") for line in differences(expected, [invented, first, *others])
        ] == [True]


def nearly(value: Any) -> Any:
    """Give another value, as near as the comparison has to tell apart."""
    steps = {
        int: 1,
        Decimal: Decimal("0.000001"),
        float: 1e-6,
        str: " ",
        datetime: timedelta(microseconds=1),
        date: timedelta(days=1),
    }
    if isinstance(value, bool):
        return not value
    return Decimal(0) if value is None else value + steps[type(value)]


def test_one_cent_more_in_one_row_of_silver_shows_wherever_it_counts(month: Month, tmp_path: Path) -> None:
    as_of = WHEN["before the last events"]
    expected = gold_of(reference := Reference(month.world, as_of))
    order = max(reference.orders.values(), key=lambda order: len(order["items"]))
    with copied(month, tmp_path) as settings:
        url = settings.postgres_url.get_secret_value()
        with psycopg.connect(url) as connection:
            connection.execute(
                "UPDATE silver.silver_transactions SET amount_base = amount_base + 0.01 WHERE event_id = %s",
                (order["event_id"],),
            )
        assert build_gold(settings, as_of=as_of, full_refresh=True).status == "success"
        found = tables_of(url)
    told = {table: differences(rows, found[table]) for table, rows in expected.items()}
    # none of these is about money, but for the share that was given back, and this customer got nothing back
    unmoved = {"gold_churn_by_segment", "gold_system_health", "gold_customer_features"}
    assert {table for table, lines in told.items() if lines} == TABLES.keys() - unmoved
    day = order["occurred_at"].date()
    was = expected["gold_business_metrics"].rows["day", day]["revenue"]
    assert (
        f"{('day', day)}: revenue is {was + Decimal('0.01')!r}, not {was!r}" in told["gold_business_metrics"]
    )
    for model in MODELS:
        assert any(repr(model) in line for line in told["gold_revenue_attribution"])


@pytest.mark.parametrize("gold", ["after half a year of nothing"], indirect=True)
def test_silver_is_fresh_after_new_events_and_long_ago_each_table_warns(
    month: Month, gold: Gold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gold.run.ok
    with copied(month, tmp_path / "home") as settings:
        monkeypatch.setattr("pipeline.commands.quality.load_settings", lambda: settings)
        with psycopg.connect(settings.postgres_url.get_secret_value()) as connection:
            for table, column in FRESHNESS.items():
                connection.execute(
                    sql.SQL("UPDATE {0} SET {1} = {1} - interval '183 days'").format(
                        sql.Identifier("silver", table), sql.Identifier(column)
                    )
                )
        old = freshness()
        assert {check["table"]: check["passed"] for check in old} == dict.fromkeys(FRESHNESS, False)
        assert {check["name"] for check in old} == {f"freshness_{table}" for table in FRESHNESS}
        for check in old:
            assert (check["severity"], check["threshold"]) == ("warn", "> 2 hour")
            assert check["value"] == pytest.approx(183 * 86_400, abs=3_600)
        live = ProduceConfig(seed=8, end=now(), count=2_000, days=2)
        send_history(settings, live, tmp_path)
        assert {check["table"]: check["passed"] for check in freshness()} == dict.fromkeys(FRESHNESS, True)


def freshness() -> list[dict[str, Any]]:
    done = CliRunner().invoke(quality, ["--json"])
    assert done.exit_code == 0, done.output  # they only warn
    return [check for check in json.loads(done.output) if check["dimension"] == "timeliness"]
