"""The example of a stage of one's own, which the documentation shows: pure, and on a real pipeline."""

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from examples.largest_purchase import GROUP, OUTPUT, LargestPurchaseStage
from pipeline.local.platform import LocalPlatform
from pipeline.prepare import make_topics
from pipeline.settings import REPOSITORY
from streams.engine.batch import Batch
from streams.facts import VisitorEvent, encode_fact
from streams.silver import Revision
from streams.topics import CLEAN_EVENTS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class ARecord:
    value: bytes | None
    key: bytes | None = b"k"
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0
    offset: int = 0


class Kept(dict[bytes, bytes]):
    """State as a table keeps it."""

    def keys_below(self, bound: bytes, limit: int) -> list[bytes]:
        return sorted(key for key in self if key < bound)[:limit]


def purchase(number: int, customer: str, amount: int) -> VisitorEvent:
    return VisitorEvent(
        event_id=f"{number:08d}",
        event_type="purchase",
        occurred_at=NOON,
        arrived_at=NOON,
        content_hash=number,
        visitor_id=customer,
        customer_id=customer,
        amount_base=Decimal(amount),
    )


def after(batches: Sequence[Sequence[VisitorEvent]]) -> Kept:
    kept, stage = Kept(), LargestPurchaseStage()
    for number, events in enumerate(batches):
        batch = Batch(CLEAN_EVENTS, 0, [ARecord(encode_fact(event)) for event in events], 0, 1, None)
        result = stage.process(batch, kept, Revision(1, number), NOON)
        assert {output.key: output.value for output in result.outputs} == result.changes
        kept.update({key: value for key, value in result.changes.items() if value is not None})
    return kept


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_order_repetition_and_size_of_batches_do_not_matter(
    bought: list[tuple[str, int]], chance: random.Random
) -> None:
    events = [purchase(number, *one) for number, one in enumerate(bought)]
    again = events + chance.choices(events, k=5)
    chance.shuffle(again)
    assert after([again[:7], again[7:]]) == after([events])


def test_other_events_are_left_aside() -> None:
    view = purchase(1, "a", 5)
    view.event_type = "page_viewed"
    assert after([[view]]) == {}


@pytest.mark.real
@pytest.mark.timeout(120)
def test_it_runs_beside_the_pipeline_and_is_killed(platform: LocalPlatform) -> None:
    make_topics(platform.settings)
    kafka = platform.settings.kafka
    producer = Producer(kafka.librdkafka_producer())
    events = [purchase(number, f"c{number % 7}", number) for number in range(700)]
    worker = None
    try:
        for half in (events[:350], events[350:]):
            for event in half:
                producer.produce(CLEAN_EVENTS, encode_fact(event), event.visitor_id.encode())
            producer.flush()
            worker = subprocess.Popen(
                [sys.executable, "-m", "examples.largest_purchase"],
                cwd=REPOSITORY,
                env={"PIPELINE_HOME": str(platform.home), "PATH": ""},
                stderr=subprocess.DEVNULL,
            )
            wait_until_sent(platform, {f"c{n}": half[-7 + n].event_id for n in range(7)})
            worker.kill()
            worker.wait()
    finally:
        if worker is not None:
            worker.kill()
            worker.wait()


def wait_until_sent(platform: LocalPlatform, wanted: dict[str, str]) -> None:
    """Read the output topic until it says so of the customers."""
    consumer = Consumer({**platform.settings.kafka.librdkafka(), "group.id": f"{GROUP}-reader"})
    deadline, found = time.monotonic() + 60, dict[str, str]()
    while {customer: found.get(customer) for customer in wanted} != wanted:
        assert time.monotonic() < deadline, found
        if not consumer.assignment():
            known = consumer.list_topics(OUTPUT, timeout=5).topics[OUTPUT].partitions
            consumer.assign([TopicPartition(OUTPUT, number, 0) for number in known])
        for message in consumer.consume(500, timeout=0.5):
            key, value = message.key(), message.value()
            if message.error() is None and isinstance(key, bytes) and isinstance(value, bytes):
                found[key.decode()] = msgspec.json.decode(value)["event_id"]
    consumer.close()
