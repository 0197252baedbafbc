"""The oracle and the pipeline were written apart: on real stages, sinks and Postgres they must agree.

Everything but the transport is real here, in one process; what transport does (order, repetition, batches) is
drawn at random.
"""

import csv
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import psycopg
import pytest
from oracle_worlds import World
from pydantic import SecretStr

from pipeline.comparison import LATE_EVENTS, LETTERS
from pipeline.reconcile import Reconciliation, oracle_config, reconcile
from pipeline.settings import Settings
from pipeline.stages import stages_of
from producer.ledger import LedgerWriter
from producer.records import Record
from producer.run import ProduceConfig, make_records
from sinks.database import Database
from sinks.migrate import upgrade
from sinks.registry import SINKS, Sink, open_database
from streams.dead_letters import Reason, dead_letter_key, encode_dead_letter
from streams.engine.batch import Batch, Output, placed
from streams.engine.offline import OfflineEngine, Written
from streams.events import key_of
from streams.topics import DEAD_LETTERS, raw_topic
from streams.transport import TransportIdentity, to_headers

pytestmark = pytest.mark.real

END = datetime(2026, 6, 1, tzinfo=UTC)
SHARDS = 2
COUNT = 2_500

Arrival = tuple[TransportIdentity, Record]


def shop(seed: int) -> list[Record]:
    config = ProduceConfig(
        seed=seed, end=END, count=COUNT, days=60, customers=40, late=0.05, duplicates=0.05, broken=0.03
    )
    return list(make_records(config))


def arrivals(records: Sequence[Record]) -> list[Arrival]:
    """Give each record a place on Kinesis as it would have, arriving a millisecond after the one before."""
    return [
        (
            TransportIdentity(
                stream=record.stream,
                stream_epoch=1,
                shard=f"shard-{hash_of(record.partition_key) % SHARDS}",
                sequence_number=str(number),
                sub_sequence_number=0,
                partition_key=record.partition_key,
                arrived_at_ms=round(END.timestamp() * 1000) + number,
            ),
            record,
        )
        for number, record in enumerate(records)
    ]


def hash_of(key: str) -> int:
    return sum(key.encode())


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    upgrade(database)
    return Settings(_env_file=None, home=tmp_path, postgres_url=database)


@pytest.fixture
def store(settings: Settings) -> Iterator[Database]:
    opened = open_database(settings.postgres_url.get_secret_value(), retry_seconds=30)
    yield opened
    opened.close()


def write(sink: Sink, store: Database, batch: Batch) -> Written:
    letters = sink(store, placed(batch.records, batch.partition))
    return Written(
        [Output(DEAD_LETTERS, dead_letter_key(letter), encode_dead_letter(letter)) for letter in letters]
    )


def run_pipeline(
    settings: Settings, store: Database, arrived: Sequence[Arrival], rng: random.Random | None = None
) -> None:
    """Send records through; with a generator in batches of any size, else all at once."""
    engine = OfflineEngine(
        stages_of(settings),
        {topic: partial(write, sink, store) for topic, sink in SINKS.items()},
        partitions=4,
        folder=settings.home / "state",
        epoch=1,
    )
    for identity, record in arrived:
        key = key_of(record.value, record.partition_key)
        topic = raw_topic(record.stream)
        engine.feed(topic, Output(topic, key, record.value, to_headers(identity)), identity.arrived_at_ms)
        if rng is not None and rng.random() < 0.01:
            engine.drain()
    engine.drain()
    engine.close()


def judge(settings: Settings, records: Sequence[Record]) -> Reconciliation:
    ledger = settings.home / "ledger.jsonl"
    with LedgerWriter(ledger) as writer:
        writer.write(records)
    return reconcile(settings.postgres_url.get_secret_value(), ledger, oracle_config(settings))


@pytest.mark.parametrize("seed", [1, 2])
def test_silver_is_what_the_oracle_makes_of_the_ledger(
    settings: Settings, store: Database, seed: int
) -> None:
    records = shop(seed)
    run_pipeline(settings, store, arrivals(records))
    found = judge(settings, records)
    assert found.agrees, found.differences
    assert all(table.found for table in found.tables)


@pytest.mark.parametrize("seed", [3, 4])
def test_silver_is_the_same_in_any_order_with_any_repetition_in_any_batches(
    settings: Settings, store: Database, seed: int
) -> None:
    # Of two contents under one id the first stays: that is the one thing that depends on order.
    records = [record for record in shop(seed) if record.reason is not Reason.CONFLICTING_EVENT_ID]
    rng = random.Random(seed)
    sent = arrivals(records)
    # Kinesis is read again after a crash: the same place, the same bytes.
    read = sent + rng.sample(sent, len(sent) // 4)
    rng.shuffle(read)
    run_pipeline(settings, store, read, rng)
    found = judge(settings, records)
    assert found.agrees, found.differences


def test_what_is_older_than_sessions_reach_is_listed_and_in_none(settings: Settings, store: Database) -> None:
    short = settings.model_copy(update={"session_retention_days": 20})
    records = shop(5)
    rng = random.Random(5)
    sent = [arrival for arrival in arrivals(records) if arrival[1].reason is not Reason.CONFLICTING_EVENT_ID]
    rng.shuffle(sent)
    run_pipeline(short, store, sent, rng)
    found = judge(short, [record for _, record in sent])
    assert found.agrees, found.differences
    with psycopg.connect(settings.postgres_url.get_secret_value()) as connection:
        listed = connection.execute(
            "SELECT count(*) FROM silver.silver_late_events WHERE outcome = 'beyond_retention'"
        ).fetchone()
    assert listed is not None
    assert listed[0] > COUNT // 10


def doubled_rates(settings: Settings, folder: Path) -> Path:
    """Write the table of rates with all currencies but the base one worth twice as much."""
    with settings.rates_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = folder / "rates.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["rate_date", "currency", "rate"])
        writer.writeheader()
        for row in rows:
            factor = 1 if row["currency"] == settings.base_currency else 2
            writer.writerow({**row, "rate": Decimal(row["rate"]) * factor})
    return path


@pytest.mark.parametrize(
    ("setting", "value", "wrong"),
    [
        ("session_gap_seconds", 1799, {"silver_sessions"}),
        ("email_hash_secret", SecretStr("another"), {"silver_customers"}),
        ("rates_file", doubled_rates, {"silver_transactions", "silver_sessions", "silver_customers"}),
    ],
)
def test_a_pipeline_that_goes_by_another_rule_is_found(
    settings: Settings, store: Database, tmp_path: Path, *, setting: str, value: object, wrong: set[str]
) -> None:
    if callable(value):
        value = value(settings, tmp_path)
    records = list(World(random.Random(6), END).records(600))
    run_pipeline(settings.model_copy(update={setting: value}), store, arrivals(records))
    found = judge(settings, records)
    # Which events are late depends on the gap, too.
    assert {table.table for table in found.tables if not table.agrees} - {LATE_EVENTS} == wrong


@pytest.mark.parametrize("seed", range(2))
def test_events_on_every_edge_at_once_leave_what_the_oracle_says(
    settings: Settings, store: Database, seed: int
) -> None:
    rng = random.Random(seed)
    records = list(World(rng, END).records(1_200))
    run_pipeline(settings, store, arrivals(records), rng)
    found = judge(settings, records)
    assert found.agrees, found.differences
    assert all(table.found for table in found.tables if table.table != LETTERS)
