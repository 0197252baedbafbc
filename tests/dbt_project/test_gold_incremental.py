"""Builds that go on from the one before give what a build from nothing gives, row by row."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from conftest import migrated_database
from gold_world import AS_OF, FIRST, Row, copy_rows, fact_rows, make_world

from pipeline.errors import UserError
from pipeline.gold import build
from pipeline.gold.build import build_gold
from pipeline.gold.publication import PublicationError
from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from sinks.writers.facts_sql import touched_by

pytestmark = [
    pytest.mark.real,
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]
# A month ends, subscriptions lapse, and what lay in the future is seen; the last two are of one day.
AS_OFS = (AS_OF - timedelta(days=50), AS_OF - timedelta(hours=3), AS_OF)
Tables = dict[str, list[str]]
FACTS = ("transactions", "product_events", "customer_events", "system_logs")
KEYS = {"sessions": "session_id", "customers": "customer_id", "products": "product_id"}


@dataclass
class Batch:
    """What one transaction writes to silver: facts, links, entities as they are now, sessions that go."""

    facts: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in FACTS})
    entities: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in KEYS})
    identities: list[Row] = field(default_factory=list)
    vanished: list[Row] = field(default_factory=list)


def make_batches(seed: int, count: int) -> list[Batch]:
    """Give a world in pieces that come in any order: late, early, in versions that follow each other."""
    rng = random.Random(seed)
    world = make_world(seed, customers=90)
    batches = [Batch() for _ in range(count)]
    # What comes later is little: most customers are not touched by it, else all would be made again anyway.
    weights = [30, *[1] * (count - 1)]
    facts = {
        "transactions": [*world.transactions, *shared_orders()],
        "product_events": [*world.product_events, *product_events(rng, world.sessions)],
        "customer_events": customer_events(rng, world.customers),
        "system_logs": world.system_logs,
    }
    for name, rows in facts.items():
        for row in fact_rows(name, rows):
            [batch] = rng.choices(batches, None if "shared" in str(row.get("order_id")) else weights)
            batch.facts[name].append(row)
    for row in {tuple(row.values()): row for row in world.identities}.values():
        rng.choices(batches, weights)[0].identities.append(row)
    products = [
        {"product_id": f"product-{n}", "name": f"Product {n}", "price": Decimal(n), "stock": n}
        for n in range(9)
    ]
    for name, rows in (("sessions", world.sessions), ("customers", world.customers), ("products", products)):
        for row in rows:
            # of products, which are few, some are named later
            latest = rng.choices(range(count), None if name == "products" else weights)[0]
            versions = sorted({latest, *([0] if rng.random() < 0.5 else [])})
            for number in versions:
                last = number == versions[-1]
                batches[number].entities[name][row[KEYS[name]]] = row if last else earlier(name, row)
            if name == "sessions" and len(versions) == 2 and rng.random() < 0.3:
                batches[versions[0]].entities[name][row[KEYS[name]]] = row
                del batches[versions[1]].entities[name][row[KEYS[name]]]
                batches[versions[1]].vanished.append(row)
    return batches


def earlier(name: str, row: Row) -> Row:
    """Give an entity as it was before the last that was known of it."""
    if name == "sessions":
        return {**row, "customer_id": None, "ended_at": row["started_at"], "purchases": 0, "is_bot": False}
    if name == "customers":
        return {**row, "country": "US", "is_deleted": False}
    return {**row, "price": Decimal("0.5"), "name": None}


def shared_orders() -> Iterator[Row]:
    """Give orders and a subscription that go over to another customer once an earlier fact of it comes."""
    for n in range(12):
        for customer, day in ((n, 20), (n + 20, 10), (n + 40, 30)):
            base = {"customer_id": f"customer-{customer:04}", "currency": "USD", "rate": Decimal(1)}
            amount = Decimal(10 + n)
            yield {
                **base,
                "event_id": uuid.uuid5(uuid.NAMESPACE_OID, f"shared-{n}-{customer}"),
                "occurred_at": FIRST + timedelta(days=100 + day + n),
                "transaction_type": ("purchase", "refund", "purchase")[n % 3 if day == 30 else 0],
                "order_id": f"shared-{n}",
                "amount": amount,
                "amount_base": amount,
            }
            yield {
                **base,
                "event_id": uuid.uuid5(uuid.NAMESPACE_OID, f"taken-over-{n}-{customer}"),
                "occurred_at": AS_OF - timedelta(days=4 * day, hours=n),
                "transaction_type": "subscription_renewed",
                "subscription_id": f"taken-over-{n}",
                "plan": f"plan {day}",
                "monthly_amount": amount,
                "monthly_amount_base": amount,
            }


def product_events(rng: random.Random, sessions: list[Row]) -> Iterator[Row]:
    for session in sessions:
        for _ in range(rng.randint(0, 3)):
            kind = rng.choice(["product_viewed", "cart_added", "product_reviewed"])
            yield {
                "event_id": uuid.UUID(int=rng.getrandbits(128)),
                "occurred_at": session["started_at"] + timedelta(seconds=rng.choice([0, 40])),
                "event_type": kind,
                "visitor_id": session["visitor_id"],
                "product_id": f"product-{rng.randint(1, 14)}",
                "rating": rng.randint(1, 5) if kind == "product_reviewed" else None,
                "is_bot": rng.random() < 0.05,
            }


def customer_events(rng: random.Random, customers: list[Row]) -> Iterator[Row]:
    """Give account events, several of a customer, some of them in one instant."""
    for number, customer in enumerate(customers):
        for _ in range(rng.randint(1, 5)):
            yield {
                "event_id": uuid.UUID(int=rng.getrandbits(128)),
                "occurred_at": customer["created_at"] + timedelta(days=3 * rng.randint(0, 3)),
                "event_type": rng.choice(["signup", "profile_updated", "profile_updated", "account_deleted"]),
                # of some the profile never comes
                "customer_id": f"unheard-{number}" if number % 9 == 0 else customer["customer_id"],
                "changed": {
                    name: rng.choice(values)
                    for name, values in {
                        "country": ["DE", "FR", None],
                        "marketing_opt_in": [True, False, None],
                    }.items()
                    if rng.random() < 0.5
                },
            }


def write(url: str, batch: Batch) -> None:
    """Write a batch as the sinks do: in one transaction, with notes of what it touched."""
    with psycopg.connect(url) as connection:
        for name, rows in batch.facts.items():
            table = f"silver_{name}"
            connection.execute(f"CREATE TEMP TABLE new_{name} (LIKE silver.{table})".encode())
            if rows:
                copy_rows(connection, f"silver.{table}", rows)
                connection.execute(
                    f"""
                    INSERT INTO new_{name} SELECT * FROM silver.{table} WHERE event_id = ANY (%s)
                    """.encode(),
                    ([row["event_id"] for row in rows],),
                )
            connection.execute(
                f"INSERT INTO ops.ops_changes (kind, key, day) {touched_by(table, f'new_{name}')}".encode()
            )
        for name, entities in batch.entities.items():
            keys = list(entities)
            connection.execute(
                f"DELETE FROM silver.silver_{name} WHERE {KEYS[name]} = ANY (%s)".encode(), (keys,)
            )
            if entities:
                copy_rows(connection, f"silver.silver_{name}", list(entities.values()))
        gone = [row["session_id"] for row in batch.vanished]
        connection.execute("DELETE FROM silver.silver_sessions WHERE session_id = ANY (%s)", (gone,))
        sessions = [*batch.entities["sessions"].values(), *batch.vanished]
        touched = {("session", row["visitor_id"]) for row in sessions}
        touched |= {("customer", key) for key in batch.entities["customers"]}
        touched |= {("product", key) for key in batch.entities["products"]}
        if batch.identities:
            copy_rows(connection, "silver.silver_identities", batch.identities)
        touched |= {("identity", row["anonymous_id"]) for row in batch.identities}
        touched |= {("customer", row["customer_id"]) for row in batch.identities}
        connection.cursor().executemany(
            "INSERT INTO ops.ops_changes (kind, key) VALUES (%s, %s)", sorted(touched)
        )


def contents(url: str) -> Tables:
    """Give all rows of the star and of gold, but for when they were built."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("""
            SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('core', 'gold')
        """).fetchall()
        return {
            table: [
                row
                for (row,) in connection.execute(
                    f"SELECT (to_jsonb(one) - 'dbt_updated_at')::text FROM {table} AS one ORDER BY 1".encode()
                )
            ]
            for (table,) in tables
        }


def differing(
    one: dict[str, list[str]], other: dict[str, list[str]]
) -> dict[str, tuple[list[str], list[str]]]:
    """Give the first rows of each table that only one of them has."""
    assert one.keys() == other.keys()
    return {
        name: (sorted(set(rows) - set(other[name]))[:2], sorted(set(other[name]) - set(rows))[:2])
        for name, rows in one.items()
        if rows != other[name]
    }


@pytest.fixture
def two(platform: LocalPlatform, tmp_path: Path) -> Iterator[tuple[Settings, Settings]]:
    """Settings of two empty databases."""
    with migrated_database(platform) as one, migrated_database(platform) as other:
        yield (
            Settings(_env_file=None, postgres_url=one, home=tmp_path / "one"),
            Settings(_env_file=None, postgres_url=other, home=tmp_path / "other"),
        )


def url_of(settings: Settings) -> str:
    return settings.postgres_url.get_secret_value()


@pytest.mark.parametrize("seed", [1])
def test_builds_that_go_on_give_what_builds_from_nothing_give(
    two: tuple[Settings, Settings], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    going_on, anew = two
    tests: set[str] = set()
    for number, (batch, as_of) in enumerate(zip(make_batches(seed, len(AS_OFS)), AS_OFS, strict=True)):
        for settings in two:
            write(url_of(settings), batch)
        if number == 1:
            interrupted(going_on, as_of - timedelta(days=10), monkeypatch)
        if number == len(AS_OFS) - 1:
            not_published(going_on, as_of - timedelta(hours=1), monkeypatch)
        run = build_gold(going_on, as_of=as_of)
        assert (run.status, run.message) == ("success", "")
        assert was_full(going_on, run.run_id) == (number == 0)
        done = {node["name"] for node in run.results if node["kind"] == "test"}
        assert not {
            name for name in tests - done if "marketing_spend" not in name and "exchange_rates" not in name
        }
        tests |= done
        if number > 0:
            run = build_gold(anew, as_of=as_of, full_refresh=True)
            assert (run.status, run.message) == ("success", "")
            found, expected = contents(url_of(going_on)), contents(url_of(anew))
            assert differing(found, expected) == {}
    assert [name for name, rows in expected.items() if not rows] == []


def interrupted(settings: Settings, as_of: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build, and be killed between the star and gold."""

    def killed(*_: object) -> None:
        raise psycopg.OperationalError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(build, "score_customers", killed)
        with pytest.raises(UserError, match="killed"):
            build_gold(settings, as_of=as_of)


def not_published(settings: Settings, as_of: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build all, and do not get as far as to publish it."""

    def refused(*_: object) -> None:
        raise PublicationError("somebody holds a lock")

    with monkeypatch.context() as patch:
        patch.setattr(build, "publish", refused)
        assert build_gold(settings, as_of=as_of).status == "error"


def was_full(settings: Settings, run_id: str) -> bool:
    with psycopg.connect(url_of(settings)) as connection:
        row = connection.execute(
            "SELECT full_refresh FROM ops.ops_dbt_runs WHERE run_id = %s", (run_id,)
        ).fetchone()
    assert row is not None
    return bool(row[0])


def test_what_does_not_hold_fails_each_build_until_it_is_mended(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Though builds that go on test of large tables only what has changed."""
    odd = {
        "event_id": uuid.UUID(int=1),
        "occurred_at": FIRST,
        "service": "shop",
        "level": "odd",
        "message": "line",
    }
    with migrated_database(platform) as url:
        settings = Settings(_env_file=None, postgres_url=url, home=tmp_path / "home")
        assert build_gold(settings, as_of=AS_OF).status == "success"
        write(
            url, Batch(facts={name: [] for name in FACTS} | {"system_logs": fact_rows("system_logs", [odd])})
        )
        first, second = (build_gold(settings, as_of=AS_OF) for _ in range(2))
        assert not was_full(settings, first.run_id)
        for run in (first, second):
            assert run.status == "failed"
            assert run.failed_nodes == (
                "accepted_values_stg_system_logs_level__debug__info__warning__error__critical",
            )


def test_after_a_table_was_lost_the_build_after_the_next_is_a_full_one(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """The next one has nothing to compare with: it cannot say what is affected by what it finds there."""
    with migrated_database(platform) as url:
        settings = Settings(_env_file=None, postgres_url=url, home=tmp_path / "home")
        write(url, make_batches(2, 1)[0])
        assert build_gold(settings, as_of=AS_OF).published
        with psycopg.connect(url) as connection:
            connection.execute("DROP TABLE core.int_attribution_credits")
        assert [build_gold(settings, as_of=AS_OF).anew for _ in range(3)] == [
            "",
            "the build before was of another project, or did not hold",
            "",
        ]
