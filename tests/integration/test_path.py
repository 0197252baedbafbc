"""The whole path on real parts: producer, Kinesis, KCL, Kafka, Faust, Postgres, dbt; with workers killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from pipeline.local.platform import LocalPlatform
from pipeline.local.programs import default_workers, worker
from pipeline.prepare import start_pipeline
from pipeline.reconcile import oracle_config, reconcile
from pipeline.sending import Stopping, make_writer
from pipeline.settings import Settings
from pipeline.status import look, wait_idle
from pipeline.verify import check_conservation
from producer.ledger import LedgerWriter
from producer.run import ProduceConfig, produce

pytestmark = [pytest.mark.real, pytest.mark.daemon, pytest.mark.timeout(420)]

GAP = timedelta(minutes=30)
COUNT = 6_000
WORKERS = ("process", "process-2", "sink", "ingest-product-events")


@pytest.fixture(scope="module")
def pipeline(new_settings: Callable[[], Settings]) -> Iterator[LocalPlatform]:
    """The pipeline of a user, with a second worker beside `process`, in a home of its own."""
    workers = [w for w in default_workers(gold_every_seconds=3600) if w.name != "gold"]
    with LocalPlatform(new_settings(), [*workers, worker("process-2", "process")]) as platform:
        start_pipeline(platform)
        yield platform


@pytest.fixture(scope="module")
def ledger(pipeline: LocalPlatform) -> Path:
    """A history sent in parts, with each worker killed in mid-stream; everything is through."""
    path = pipeline.home / "ledger.jsonl"
    config = ProduceConfig(
        seed=11, end=datetime.now(UTC), count=COUNT, days=60, late=0.05, duplicates=0.03, broken=0.01
    )
    kills = dict(zip(range(COUNT // 5, COUNT, COUNT // 5), WORKERS, strict=False))
    sent = 0

    def kill_on_the_way(records: int) -> None:
        nonlocal sent
        before, sent = sent, sent + records
        for at, name in kills.items():
            if before < at <= sent:
                kill(pipeline, name)

    with LedgerWriter(path) as kept:
        produce(config, make_writer(pipeline.settings, Stopping()), kept, progress=kill_on_the_way)
    # Once more while the last of it is on its way.
    kill(pipeline, "process")
    kill(pipeline, "sink")
    assert wait_idle(pipeline.settings, 180), look(pipeline.settings)
    return path


def kill(platform: LocalPlatform, name: str) -> None:
    """Kill -9 a worker; the supervisor starts it again."""
    deadline = time.monotonic() + 30
    while not (state := platform.states()[name]).is_running:
        assert time.monotonic() < deadline, f"{name} does not run: {state}"
        time.sleep(0.1)
    os.kill(state.pid, signal.SIGKILL)


def rows(platform: LocalPlatform, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(platform.postgres_url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_every_field_of_silver_is_what_the_events_sent_must_give(
    pipeline: LocalPlatform, ledger: Path
) -> None:
    found = reconcile(pipeline.postgres_url, ledger, oracle_config(pipeline.settings))
    assert found.agrees, found.differences
    assert (found.lost, found.doubled, found.differing) == (0, 0, 0)
    assert found.facts > COUNT * 0.9
    assert found.broken > 0


def test_nothing_is_lost_doubled_or_invented(pipeline: LocalPlatform, ledger: Path) -> None:
    assert ledger.exists()
    report = check_conservation(pipeline.postgres_url)
    assert report.is_conserved, report
    assert sum(day.bronze for day in report.days) >= COUNT
    assert sum(day.duplicates for day in report.days) > 0
    assert {day.stream for day in report.days} == {
        "customer-events",
        "transaction-events",
        "product-events",
        "system-logs",
    }


def test_sessions_are_what_sort_and_cut_makes_of_the_facts(pipeline: LocalPlatform, ledger: Path) -> None:
    assert ledger.exists()
    facts = rows(
        pipeline,
        """
        SELECT visitor_id, occurred_at, event_id FROM silver.silver_customer_events
        UNION ALL
        SELECT visitor_id, occurred_at, event_id FROM silver.silver_transactions
        UNION ALL
        SELECT visitor_id, occurred_at, event_id FROM silver.silver_product_events
        WHERE event_type NOT IN ('product_listed', 'product_delisted')
        ORDER BY 1, 2, 3
        """,
    )
    expected: list[list[Any]] = []
    for visitor, at, _ in facts:
        last = expected[-1] if expected else None
        if last and last[0] == visitor and at - last[2] <= GAP:
            last[2], last[3] = at, last[3] + 1
        else:
            expected.append([visitor, at, at, 1])
    stored = rows(
        pipeline,
        "SELECT visitor_id, started_at, ended_at, events FROM silver.silver_sessions ORDER BY 1, 2",
    )
    assert len(stored) > COUNT // 20
    assert sorted(map(tuple, expected)) == sorted(stored)


def test_the_age_of_events_is_recorded_at_each_hop(pipeline: LocalPlatform, ledger: Path) -> None:
    assert ledger.exists()
    hops = {hop for (hop,) in rows(pipeline, "SELECT DISTINCT hop FROM ops.ops_hops WHERE age_seconds >= 0")}
    assert hops == {"ingest", "bronze", "clean", "silver"}


def test_the_two_workers_share_the_partitions(pipeline: LocalPlatform, ledger: Path) -> None:
    assert ledger.exists()
    admin = AdminClient(pipeline.settings.kafka.librdkafka())
    group = admin.describe_consumer_groups(["pipeline-process"])["pipeline-process"].result(timeout=15)
    shares = [len(member.assignment.topic_partitions) for member in group.members]
    assert len(shares) == 2
    assert all(share > 0 for share in shares)
    assert sum(shares) == 6 * pipeline.settings.partitions
