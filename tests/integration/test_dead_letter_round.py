"""The round of dead letters on real Kafka, Postgres and workers: refused, corrected, sent again, right."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest
from offline_path import OfflinePath
from psycopg import sql

from pipeline.dead_letters import store
from pipeline.dead_letters.patching import read_patch
from pipeline.dead_letters.planning import Planner
from pipeline.dead_letters.replay import Outcome, replay
from pipeline.dead_letters.selection import Selection
from pipeline.local.platform import LocalPlatform
from pipeline.local.programs import worker
from pipeline.prepare import start_pipeline
from pipeline.settings import Settings
from pipeline.status import wait_idle
from pipeline.verify import check_conservation
from producer.run import ProduceConfig, make_records
from sinks.migrate import upgrade
from sinks.schema import metadata
from streams.events import Stream
from streams.ingest.forwarder import KafkaForwarder
from streams.ingest.messages import KinesisRecord, Message, Source, to_messages
from streams.kafka import KafkaConfig

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

END = datetime(2026, 3, 1, tzinfo=UTC)
EPOCH = 1_700_000_000_000
COUNT = 3_600
BROKEN = 1_000
NEW_CURRENCY = "XTS"
HOPELESS = b'{"cut": "off'
# What the order of arrival decides, and nothing else: a replayed event is late.
OF_ARRIVAL = {"is_late", "loaded_at", "updated_at", "revision_epoch", "revision_offset"}
TABLES = sorted(
    table.name
    for table in metadata.tables.values()
    if table.schema == "silver" and table.name not in {"dead_letters", "silver_late_events"}
)

PATCHES = {
    "missing_field": '[{"op": "move", "from": "/eventId", "path": "/event_id"}]',
    "wrong_type": '[{"op": "move", "from": "/anonymous_id/id", "path": "/anonymous_id"}]',
    "unknown_version": '{"event_version": 1}',
    "unknown_event_type": '{"event_type": "log"}',
}
"""How each kind of broken record becomes what it should have been."""


class Sent(NamedTuple):
    """A record as it should have been, as it was sent, and the reason it is refused for."""

    right: Message
    sent: Message
    reason: str | None


def breakage(stream: Stream, event: dict[str, Any], number: int) -> tuple[str, dict[str, Any]]:
    """Break an event as a faulty producer would."""
    if stream == "system-logs":
        return "unknown_event_type", {**event, "event_type": "logs"}
    if event.get("anonymous_id") and number % 2:
        return "wrong_type", {**event, "anonymous_id": {"id": event["anonymous_id"]}}
    if number % 4:
        return "unknown_version", {**event, "event_version": 7}
    renamed = {("eventId" if name == "event_id" else name): value for name, value in event.items()}
    return "missing_field", renamed


def make_history() -> list[Sent]:
    """A shop's events, 1,000 of them broken: in five ways that can be corrected, and one that cannot."""
    config = ProduceConfig(seed=9, end=END, count=COUNT, days=20, late=0.02, duplicates=0.0, broken=0.0)
    history: list[Sent] = []
    broken = 0
    for number, record in enumerate(make_records(config)):
        event = msgspec.json.decode(record.value)
        right = sent = msgspec.json.encode(event)
        reason = None
        if "currency" in event and event["event_type"] != "product_listed" and number % 2:
            right = sent = msgspec.json.encode({**event, "currency": NEW_CURRENCY})
            reason = "unknown_currency"
        elif number % 3 == 0 and broken < BROKEN - 30:
            reason, wrong = breakage(record.stream, event, number)
            sent = msgspec.json.encode(wrong)
        broken += reason is not None
        messages = (message(record.stream, number, value, record.partition_key) for value in (right, sent))
        history.append(Sent(*messages, reason))
    for number in range(COUNT, COUNT + BROKEN - broken):
        nothing = message("product-events", number, HOPELESS, f"k-{number}")
        history.append(Sent(nothing, nothing, "not_json"))
    return history


def message(stream: Stream, number: int, value: bytes, partition_key: str) -> Message:
    source = Source(stream, EPOCH, f"shardId-{number % 2:012d}")
    at = round(END.timestamp() * 1000) + number
    return next(to_messages(source, [KinesisRecord(str(10**20 + number), 0, partition_key, at, value)]))


class Pipeline:
    """A platform with its workers, and the command line."""

    def __init__(self, platform: LocalPlatform, rates: Path) -> None:
        self.platform = platform
        self.rates = rates

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            env={
                "PIPELINE_HOME": str(self.platform.home),
                "PIPELINE_RATES_FILE": str(self.rates),
                "PATH": "",
            },
            cwd=self.platform.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def replay(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.run("dead-letters", "replay", *arguments, "--json", code=code)
        )
        return found

    def settle(self) -> None:
        """Wait until all is through; everything must be in its place then."""
        assert wait_idle(self.platform.settings, 120)
        report = check_conservation(self.platform.postgres_url)
        assert report.is_conserved, report

    def letters(self) -> Counter[tuple[str, str, int]]:
        """Count by status, reason and attempt."""
        statement = "SELECT status, reason, attempt, count(*) FROM silver.dead_letters GROUP BY 1, 2, 3"
        with psycopg.connect(self.platform.postgres_url) as connection:
            return Counter({tuple(row[:3]): row[3] for row in connection.execute(statement).fetchall()})


def rows(url: str, table: str) -> list[str]:
    columns = [c.name for c in metadata.tables[f"silver.{table}"].columns if c.name not in OF_ARRIVAL]
    statement = sql.SQL("SELECT ({})::text FROM silver.{} ORDER BY 1").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)
    )
    with psycopg.connect(url) as connection:
        return [text for (text,) in connection.execute(statement).fetchall()]


@pytest.fixture(scope="module")
def history() -> list[Sent]:
    return make_history()


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rate table of our own, without the new currency."""
    table = tmp_path_factory.mktemp("rates") / "rates.csv"
    table.write_text(Settings(_env_file=None).rates_file.read_text())
    return table


@pytest.fixture(scope="module")
def pipeline(new_settings: Callable[[], Settings], rates: Path) -> Iterator[Pipeline]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_RATES_FILE", str(rates))
        workers = [worker("process", "process"), worker("sink", "sink")]
        with LocalPlatform(new_settings(), workers) as platform:
            start_pipeline(platform)
            yield Pipeline(platform, rates)


class KilledAfterSending(KafkaForwarder):
    def forward(self, messages: Iterable[Message]) -> None:
        super().forward(messages)
        os.kill(os.getpid(), signal.SIGKILL)


def replay_and_die(url: str, kafka: KafkaConfig, reason: str) -> None:
    with store.connect(url) as connection:
        replay(
            connection,
            KilledAfterSending(kafka),
            store.identities(connection, Selection(statuses=("pending",), reasons=(reason,))),
            Planner(read_patch(PATCHES[reason])),
            statuses=("pending",),
            outcome=Outcome(),
        )


def kill_after_sending(url: str, kafka: KafkaConfig, reason: str) -> None:
    child = multiprocessing.get_context("spawn").Process(target=replay_and_die, args=(url, kafka, reason))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def add_currency(rates: Path) -> None:
    with rates.open("a") as table:
        table.write(f"2020-01-01,{NEW_CURRENCY},0.25\n")


def test_a_thousand_broken_records_are_corrected_and_silver_is_as_if_they_had_been_right(
    pipeline: Pipeline, history: list[Sent], rates: Path, tmp_path: Path
) -> None:
    platform = pipeline.platform
    kafka = platform.settings.kafka
    expected = Counter(sent.reason for sent in history if sent.reason)
    assert expected.total() == BROKEN
    assert len(expected) == 6
    hopeless = expected["not_json"]

    # Refused, each with its reason.
    KafkaForwarder(kafka).forward(sent.sent for sent in history)
    pipeline.settle()
    assert pipeline.letters() == {("pending", reason, 0): count for reason, count in expected.items()}
    listed = json.loads(pipeline.run("dead-letters", "list", "--json"))
    assert {group["name"]: group["letters"] for group in listed["groups"]} == expected

    # Nothing is better yet, and a dry run says so.
    before = pipeline.replay("--dry-run", code=1)
    assert (before["selected"], before["facts"]) == (BROKEN, 0)
    assert {f["reason"]: f["letters"] for f in before["failing"]} == expected

    # A rule is fixed: the rate table gains the currency.
    add_currency(rates)
    after = pipeline.replay("--dry-run", code=1)
    assert after["facts"] == expected["unknown_currency"]
    platform.restart("process")
    assert pipeline.replay("--reason", "unknown_currency")["sent"] == expected["unknown_currency"]
    pipeline.settle()

    # Patches correct the rest. One replay is killed when all is sent and nothing is noted.
    for reason in ("missing_field", "wrong_type", "unknown_event_type"):
        forecast = pipeline.replay("--reason", reason, "--patch", PATCHES[reason], "--dry-run")
        assert forecast["facts"] == expected[reason]
        done = pipeline.replay("--reason", reason, "--patch", PATCHES[reason], "--wait")
        assert (done["sent"], done["failed_again"]) == (expected[reason], [])
    kill_after_sending(platform.postgres_url, kafka, "unknown_version")
    pipeline.settle()
    rest = pipeline.replay("--reason", "unknown_version", "--patch", PATCHES["unknown_version"])
    # What the first 500 became was noted with their facts.
    assert rest.get("sent", 0) == max(0, expected["unknown_version"] - 500)
    pipeline.settle()

    # What cannot be corrected fails in the same way, and is exhausted; who waits is told.
    again = pipeline.replay("--wait", code=1)
    assert again["sent"] == hopeless
    assert again["failed_again"] == [{"reason": "not_json", "status": "exhausted", "letters": hopeless}]
    pipeline.settle()
    replayed = {("replayed", r, 0): n for r, n in expected.items() if r != "not_json"}
    assert pipeline.letters() == {**replayed, ("exhausted", "not_json", 1): hopeless}

    # Twice is once: nothing is left to do, and the same records on the topic again change nothing.
    assert pipeline.replay() == {"selected": 0}
    assert pipeline.replay("--status", "replayed")["settled"] == BROKEN - hopeless
    KafkaForwarder(kafka).forward(sent.sent for sent in history)
    pipeline.settle()
    assert pipeline.letters() == {**replayed, ("exhausted", "not_json", 1): hopeless}
    discarded = json.loads(pipeline.run("dead-letters", "discard", "--status", "exhausted", "--json"))
    assert discarded == {"discarded": hopeless}
    pipeline.settle()

    # All of silver is what it would have been, also when it is made again from bronze and the corrections.
    expected_rows = as_it_should_be(platform, history, rates, tmp_path)
    assert all(expected_rows.values())
    assert {table: rows(platform.postgres_url, table) for table in TABLES} == expected_rows
    pipeline.run("rebuild")
    pipeline.settle()
    assert {table: rows(platform.postgres_url, table) for table in TABLES} == expected_rows
    assert pipeline.letters() == {**replayed, ("discarded", "not_json", 1): hopeless}


def as_it_should_be(
    platform: LocalPlatform, history: list[Sent], rates: Path, folder: Path
) -> dict[str, list[str]]:
    """Send what should have been sent through the same stages into another database, and give its rows."""
    with psycopg.connect(platform.postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE as_it_should_be")
    url = platform.postgres_url.rpartition("/")[0] + "/as_it_should_be"
    upgrade(url)
    settings = Settings(
        _env_file=None, **{**platform.settings.model_dump(), "postgres_url": url, "rates_file": rates}
    )
    path = OfflinePath(settings, folder)
    path.send(sent.right for sent in history)
    path.close()
    return {table: rows(url, table) for table in TABLES}
