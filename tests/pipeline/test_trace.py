"""Tracing events through a database that the real stages and sinks have filled."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from dead_letter_examples import EPOCH_MS, EVENT_ID, NOON, OTHER_ID, viewed
from offline_path import OfflinePath

from pipeline.cli import pipeline
from pipeline.dead_letters import store
from pipeline.dead_letters.letters import Identity
from pipeline.dead_letters.patching import read_patch
from pipeline.dead_letters.planning import Planner
from pipeline.dead_letters.replay import Outcome, replay
from pipeline.dead_letters.selection import Selection
from pipeline.errors import UserError
from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from pipeline.trace.story import MOST_ERRORS
from pipeline.verify import check_conservation
from sinks.migrate import upgrade
from streams.events import STREAM_OF_TYPE, Stream
from streams.ingest.messages import KinesisRecord, Message, Source, to_messages

pytestmark = pytest.mark.real

Ask = Callable[..., Result]

PURCHASE = {
    "event_id": "6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a0a",
    "event_type": "purchase",
    "occurred_at": "2026-03-01T11:50:00Z",
    "customer_id": "c-1",
    "order_id": "o-1",
    "amount": "59.80",
    "currency": "USD",
    "payment_method": "card",
    "items": [{"product_id": "p-1", "category": "books", "quantity": 2, "unit_price": "29.90"}],
}


def arrived(number: int, value: bytes, stream: Stream = "product-events") -> Message:
    at = int((NOON + timedelta(seconds=number)).timestamp() * 1000)
    (message,) = to_messages(
        Source(stream, EPOCH_MS, "shardId-0"), [KinesisRecord(str(number), 0, "k", at, value)]
    )
    return message


def identity(number: int, stream: str = "product-events") -> Identity:
    return Identity(stream, EPOCH_MS, "shardId-0", str(number), 0)


@pytest.fixture
def url(database: str) -> str:
    upgrade(database)
    return database


@pytest.fixture
def path(url: str, tmp_path: Path) -> Iterator[OfflinePath]:
    path = OfflinePath(Settings(_env_file=None, postgres_url=url, home=tmp_path), tmp_path / "state")
    yield path
    path.close()


@pytest.fixture
def ask(url: str, platform: LocalPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_POSTGRES_URL", url)
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP", platform.kafka_bootstrap)
    monkeypatch.setenv("PIPELINE_KINESIS_ENDPOINT", str(platform.kinesis_endpoint))
    monkeypatch.setenv("PIPELINE_DYNAMODB_ENDPOINT", str(platform.settings.dynamodb_endpoint))
    return lambda *arguments: CliRunner().invoke(pipeline, ["trace", *map(str, arguments)])


def found(ask: Ask, asked: object) -> dict[str, Any]:
    done = ask(asked, "--json")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def test_a_fact_is_told_with_its_session_links_and_hops(path: OfflinePath, ask: Ask) -> None:
    path.send(
        [
            arrived(1, viewed(customer_id="c-1")),
            arrived(2, viewed(event_id=OTHER_ID, customer_id="c-1", occurred_at="2026-03-01T12:00:01Z")),
        ]
    )
    values = found(ask, EVENT_ID)
    assert values["verdict"] == "a fact, in silver.silver_product_events"
    assert [a["is"] for a in values["arrivals"]] == ["the row that the fact came from"]
    assert (values["session"]["visitor_id"], values["session"]["events"]) == ("c-1", 2)
    assert [(link["anonymous_id"], link["customer_id"]) for link in values["links"]] == [("v-1", "c-1")] * 2
    told = ask(EVENT_ID.upper()).stdout
    for what in ("arrived on Kinesis", "in bronze.bronze_product_events", "in silver.silver_product_events"):
        assert what in told
    assert "gold      not built" in told
    sampled = found(ask, OTHER_ID)
    assert [hop["hop"] for hop in sampled["hops"]] == ["bronze", "ingest", "clean", "silver"]
    steps = ask(OTHER_ID).stdout.splitlines()
    ingest = next(line for line in steps if "on Kafka" in line)
    assert "+0.250 s" in ingest


def test_duplicates_and_other_contents_of_an_id_are_told(path: OfflinePath, ask: Ask) -> None:
    path.send([arrived(1, viewed()), arrived(2, viewed()), arrived(3, viewed(page=1, anonymous_id="v-2"))])
    values = found(ask, EVENT_ID)
    assert [a["is"] for a in values["arrivals"]] == [
        "the row that the fact came from",
        "a duplicate of the fact",
        "a dead letter, pending: conflicting_event_id",
    ]
    assert values["verdict"].endswith("; 1 duplicate of it arrived; 1 other content came under its id")
    refused = found(ask, identity(3))["verdict"]
    assert refused.startswith("a dead letter, pending: conflicting_event_id")
    assert refused.endswith("another record with its event_id is a fact, in silver.silver_product_events")
    assert f"dead-letters show {identity(3)}" in ask(EVENT_ID).stdout


@pytest.mark.parametrize("asked", ["odd", identity(1)], ids=["event_id", "identity"])
def test_a_broken_event_is_found_by_its_id_or_by_where_it_came_from(
    path: OfflinePath, ask: Ask, asked: object
) -> None:
    path.send([arrived(1, viewed(event_id="odd"))])
    values = found(ask, asked)
    assert values["verdict"].startswith("a dead letter, pending: invalid_value ($.event_id")
    assert [a["is"] for a in values["arrivals"]] == ["a dead letter, pending: invalid_value"]
    assert "refused by clean-product-events: invalid_value" in ask(asked).stdout


def test_a_replayed_record_is_followed_to_its_fact_also_under_another_id(
    path: OfflinePath, ask: Ask, url: str
) -> None:
    path.send([arrived(1, viewed()), arrived(2, viewed(anonymous_id="v-2"))])
    with store.connect(url) as connection:
        chosen = store.identities(connection, Selection(statuses=("pending",)))
        outcome = Outcome()
        patch = read_patch(json.dumps({"event_id": OTHER_ID}))
        replay(connection, path, chosen, Planner(patch), statuses=("pending",), outcome=outcome)
    assert outcome.sent == 1
    for asked in (OTHER_ID, identity(2)):
        values = found(ask, asked)
        assert "a replayed dead letter that became the fact" in [a["is"] for a in values["arrivals"]]
        told = ask(asked).stdout
        assert "noted as replayed, corrected" in told
    of_both = found(ask, EVENT_ID)
    assert [fact["event_id"] for fact in of_both["facts"]] == [EVENT_ID, OTHER_ID]
    assert of_both["verdict"].endswith(
        f"1 other content came under its id; the other content is a fact under the id {OTHER_ID}, "
        f"in silver.silver_product_events"
    )
    for asked in (OTHER_ID, identity(2)):
        values = found(ask, asked)
        assert values["facts"][0]["event_id"] == OTHER_ID
        assert values["verdict"] == (
            f"a fact, in silver.silver_product_events; it came under the id {EVENT_ID}, "
            f"which another event has"
        )
    assert f"in silver.silver_product_events as {OTHER_ID}" in ask(EVENT_ID).stdout
    # Sessions have counted the refused content, before the database could refuse it; a rebuild heals that.
    assert all(day.is_conserved for day in check_conservation(url).days)


def test_two_purchases_under_one_id_are_two_however_often_the_second_came(
    path: OfflinePath, ask: Ask, url: str
) -> None:
    second = {**PURCHASE, "customer_id": "c-2", "order_id": "o-2", "amount": "7"}
    spelled = {**dict(reversed(second.items())), "amount": "7.00"}
    sent = [PURCHASE, second, second, spelled]
    path.send(arrived(n, json.dumps(value).encode(), "transaction-events") for n, value in enumerate(sent, 1))
    verdict = found(ask, PURCHASE["event_id"])["verdict"]
    assert verdict.endswith("1 other content came under its id, in 3 records")
    for _ in range(2):
        with store.connect(url) as connection:
            chosen = store.identities(connection, Selection())
            outcome = Outcome()
            replay(
                connection, path, chosen, Planner(new_event_ids=True), statuses=("pending",), outcome=outcome
            )
    with psycopg.connect(url) as connection:
        facts = connection.execute(
            "SELECT order_id, amount::text FROM silver.silver_transactions ORDER BY 1"
        ).fetchall()
    assert facts == [("o-1", "59.8000"), ("o-2", "7.0000")]
    values = found(ask, PURCHASE["event_id"])
    assert [a["is"] for a in values["arrivals"]] == [
        "the row that the fact came from",
        "a replayed dead letter that became the fact",
        *["a replayed dead letter, a duplicate of the fact"] * 2,
    ]
    assert (
        "1 other content came under its id, in 3 records; the other content is a fact under"
        in values["verdict"]
    )
    assert all(day.is_conserved for day in check_conservation(url).days)


def test_an_order_is_told_as_gold_counts_it(path: OfflinePath, ask: Ask, url: str) -> None:
    repeat = {**PURCHASE, "event_id": str(uuid.uuid4()), "occurred_at": "2026-03-01T11:55:00Z"}
    values = [PURCHASE, repeat]
    path.send(
        arrived(n, json.dumps(value).encode(), STREAM_OF_TYPE[str(value["event_type"])])
        for n, value in enumerate(values, 1)
    )
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ops.ops_dbt_runs (run_id, started_at, status) VALUES ('r', now(), 'success')"
        )
        connection.execute("CREATE SCHEMA IF NOT EXISTS core")
        connection.execute(
            "CREATE TABLE core.fct_orders AS SELECT order_id, event_id, occurred_at AS ordered_at, "
            "1 AS order_number, amount_base AS revenue, 2 AS purchases_seen "
            "FROM silver.silver_transactions WHERE event_id = %s",
            (PURCHASE["event_id"],),
        )
    assert "order o-1, number 1 of its customer, revenue 59.8000" in ask(PURCHASE["event_id"]).stdout
    assert (
        f"earliest purchase, {PURCHASE['event_id']}: this one is a repeat" in ask(repeat["event_id"]).stdout
    )


def test_a_record_that_is_only_in_bronze_is_on_its_way(path: OfflinePath, ask: Ask, url: str) -> None:
    path.send([arrived(1, viewed())])
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE silver.silver_product_events")
    assert found(ask, EVENT_ID)["verdict"].startswith("on its way")
    assert "on its way: not in silver yet" in ask(EVENT_ID).stdout


def test_everything_that_is_wrong_with_an_event_is_told_up_to_a_bound(path: OfflinePath, ask: Ask) -> None:
    items = [{**PURCHASE["items"][0], "quantity": 0} for _ in range(MOST_ERRORS + 1)]  # type: ignore[index]  # of items
    odd = {**PURCHASE, "event_id": "odd", "items": items}
    two = {**PURCHASE, "event_id": "two", "order_id": ""}
    path.send(
        arrived(n, json.dumps(value).encode(), "transaction-events") for n, value in enumerate((odd, two), 1)
    )
    of_two = ask("two").stdout
    assert "is a dead letter, pending: invalid_value ($.event_id: a UUID such as" in of_two
    assert "; and 1 more)" in of_two
    assert [line.split(":")[0] for line in of_two.splitlines() if line.strip().startswith("$.")] == [
        " " * 45 + "$.event_id",
        " " * 45 + "$.order_id",
    ]
    told = ask("odd").stdout
    assert told.count("a whole number from 1") == MOST_ERRORS - 1
    assert "and 2 more, which the last line shows" in told
    assert len(found(ask, "odd")["dead_letters"][0]["errors"]) == MOST_ERRORS + 2


def test_an_event_without_a_session_is_told_why(path: OfflinePath, ask: Ask, url: str) -> None:
    path.send(
        [arrived(1, viewed()), arrived(2, viewed(event_id=OTHER_ID, occurred_at="2016-03-01T12:00:00Z"))]
    )
    told = ask(OTHER_ID).stdout
    assert (
        "none: it came when it was older than sessions are kept (PIPELINE_SESSION_RETENTION_DAYS, 400)"
        in told
    )
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE silver.silver_sessions, silver.silver_late_events")
    assert (
        "none of v-1 covers it yet: it is on its way there (see `pipeline status`)\n" in ask(EVENT_ID).stdout
    )
    assert "unless it is found to be older than sessions are kept" in ask(OTHER_ID).stdout


@pytest.mark.parametrize(
    "asked",
    [
        "no-uuid",
        "",
        "7",
        "\ud800",
        "product-events/1/shard",
        "product-events/x/shard/1/0",
        "nonsense/1/shard/1/0",
    ],
)
def test_what_cannot_be_an_id_is_refused_with_what_ids_look_like(
    path: OfflinePath, ask: Ask, asked: str
) -> None:
    path.send([arrived(1, viewed())])
    done = ask(asked)
    assert isinstance(done.exception, UserError)
    assert done.exception.exit_code == 2
    assert "an event_id (such as 6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a01) nor the identity of a record" in str(
        done.exception
    )
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize("asked", [OTHER_ID, identity(99), identity(1, "silver.customers")], ids=str)
def test_what_has_not_arrived_is_said_so_with_what_is_on_its_way(
    path: OfflinePath, ask: Ask, asked: object
) -> None:
    path.send([arrived(1, viewed())])
    done = ask(asked)
    assert done.exit_code == 1
    assert f"{asked} is neither in bronze nor among the dead letters" in str(done.exception)
    assert "on its way" in str(done.exception)
