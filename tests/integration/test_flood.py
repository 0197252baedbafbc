"""A flood of broken records and a real worker: it stops, says why, and goes on only when it is told to."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from streams.dead_letters import decode_dead_letter
from streams.engine.crash import EXIT_OPERATOR
from streams.topics import DEAD_LETTERS

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

RAW = "raw.product-events"


@pytest.fixture
def home(new_settings: Callable[[], Settings]) -> Iterator[LocalPlatform]:
    """A platform of this test's own, with topics and no workers."""
    with LocalPlatform(new_settings()) as platform:
        command(platform, "topics").communicate(timeout=60)
        yield platform


def command(platform: LocalPlatform, *arguments: str) -> "subprocess.Popen[str]":
    pipeline = Path(sys.executable).with_name("pipeline")
    environment = {"PIPELINE_HOME": str(platform.home), "PATH": ""}
    return subprocess.Popen([pipeline, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def send(platform: LocalPlatform, values: list[bytes]) -> None:
    producer = Producer(platform.settings.kafka.librdkafka())
    for value in values:
        producer.produce(RAW, value, partition=0)
    assert producer.flush(30) == 0


def dead_letters(platform: LocalPlatform, wanted: int = 0, seconds: float = 60) -> list[Any]:
    """Read the topic to its end, or wait until it has as many letters as wanted."""
    config = {"group.id": "flood-test", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({**platform.settings.kafka.librdkafka(), **config})
    partitions = range(platform.settings.partitions)
    consumer.assign([TopicPartition(DEAD_LETTERS, partition, 0) for partition in partitions])
    found: list[Any] = []
    for _ in range(int(seconds)):
        messages = consumer.consume(10_000, 1.0)
        found += [decode_dead_letter(message.value() or b"") for message in messages]
        if len(found) >= wanted and not messages:
            break
    consumer.close()
    return found


def test_a_worker_stops_at_a_flood_that_comes_in_parts_and_goes_on_when_it_is_accepted(
    home: LocalPlatform,
) -> None:
    worker = command(home, "process")
    send(home, [b"{"] * 150)
    assert len(dead_letters(home, wanted=150)) == 150
    send(home, [b"{"] * 150)
    _, said = worker.communicate(timeout=90)
    assert worker.returncode == EXIT_OPERATOR, said
    assert "raw.product-events[0]" in said
    assert "consecutive records are broken, most with not_json (for example $: ends in the middle" in said
    assert "--accept-flood" in said
    assert "Traceback" not in said
    assert 150 <= len(dead_letters(home)) < 200

    accepting = command(home, "process", "--accept-flood")
    letters = dead_letters(home, wanted=300)
    accepting.terminate()
    accepting.communicate(timeout=60)
    assert {letter.sequence_number for letter in letters} == {str(offset) for offset in range(300)}
