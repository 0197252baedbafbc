"""The demo's judge must find what is lost and what was refused for another reason."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from pipeline.reconcile import reconcile
from producer.ledger import LedgerWriter, read_ledger
from producer.run import ProduceConfig, make_records
from sinks.conservation import FACTS_OF_STREAM
from sinks.migrate import upgrade

pytestmark = pytest.mark.real

END = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as writer:
        writer.write(list(make_records(ProduceConfig(seed=1, end=END, count=400, days=30, broken=0.05))))
    return path


@pytest.fixture
def stored(database: str, ledger: Path) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A database in which everything of the ledger is in its place."""
    upgrade(database)
    with psycopg.connect(database, autocommit=True) as connection:
        for number, line in enumerate(read_ledger(ledger)):
            if line.kind == "fact":
                connection.execute(
                    f"""
                    INSERT INTO silver.{FACTS_OF_STREAM[line.stream]} (
                        event_id, content_hash, occurred_at, arrived_at, stream, stream_epoch, shard,
                        sequence_number, sub_sequence_number, {EXTRA[line.stream][0]}
                    ) VALUES (%s, 1, now(), now(), %s, 1, 's', '1', 0, {EXTRA[line.stream][1]})
                    """.encode(),
                    (line.event_id, line.stream),
                )
            else:
                connection.execute(
                    """
                    INSERT INTO silver.dead_letters (
                        stream, stream_epoch, shard, sequence_number, sub_sequence_number, partition_key,
                        stage, reason, payload, arrived_at, failed_at, processor, processor_version
                    ) VALUES (%s, 1, 's', %s, 0, 'k', 'clean', %s, %s, now(), now(), 'clean', '1')
                    """,
                    (line.stream, str(number), line.reason, line.value),
                )
        yield connection


EXTRA = {
    "customer-events": ("event_type, customer_id, visitor_id", "'login', 'c', 'c'"),
    "product-events": ("event_type, visitor_id", "'page_viewed', 'c'"),
    "transaction-events": (
        "transaction_type, customer_id, visitor_id, currency",
        "'purchase', 'c', 'c', 'USD'",
    ),
    "system-logs": ("service, level, message", "'web', 'info', 'm'"),
}


def test_a_whole_silver_agrees_with_its_ledger(
    stored: psycopg.Connection[tuple[object, ...]], database: str, ledger: Path
) -> None:
    assert not stored.closed
    found = reconcile(database, ledger)
    assert found.agrees, found
    assert (found.facts, found.broken) == (380, 20)


def test_a_missing_fact_is_found(
    stored: psycopg.Connection[tuple[object, ...]], database: str, ledger: Path
) -> None:
    lost = stored.execute(
        "DELETE FROM silver.silver_product_events WHERE event_id = "
        "(SELECT event_id FROM silver.silver_product_events LIMIT 1) RETURNING event_id"
    ).fetchone()
    found = reconcile(database, ledger)
    assert not found.agrees
    assert lost is not None
    assert found.missing_examples == (f"product-events {lost[0]}",)


def test_a_dead_letter_with_another_reason_is_found(
    stored: psycopg.Connection[tuple[object, ...]], database: str, ledger: Path
) -> None:
    stored.execute("UPDATE silver.dead_letters SET reason = 'too_large' WHERE reason = 'not_json'")
    found = reconcile(database, ledger)
    assert not found.agrees
    assert "not_json was sent, too_large is there" in found.wrong_examples[0]
