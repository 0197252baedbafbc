"""One contract for both ways of reading Kinesis: Amazon's daemon and the driver in this process.

Each test has a stream that it makes again, so that its records are known by the stream's epoch. Records that
it leaves on Kafka are deleted, as some of them are broken. Resharding is not among them: the emulator never
ends a shard (see tests/streams/ingest/test_ingest_stream_reader.py).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.events import key_of
from streams.ingest.leases import LeaseTable
from streams.ingest.source import Aws, epoch_of
from streams.topics import TOPICS, declare_topics, partition_counts, raw_topic
from streams.transport import TransportIdentity, from_headers

pytestmark = pytest.mark.real

STREAM = "system-logs"
TOPIC = raw_topic(STREAM)
REGION = "us-east-1"
BOTH = [
    pytest.param(["--in-process"], id="in-process"),
    pytest.param([], id="daemon", marks=pytest.mark.daemon),
]
# ("first", b'{"customer_id":"a"}') and ("second", b"\xff\x00") as the Kinesis Producer Library packs them
PACKED = bytes.fromhex(
    "f3899ac20a0566697273740a067365636f6e641a1708001a137b22637573746f6d65725f6964223a2261227d1a0608011a02"
    "ff0056ef299d03ca1c96dfc727a422d3ee29"
)


@dataclass(frozen=True)
class World:
    """The servers and what is on them."""

    aws: Aws
    kinesis: Any
    dynamodb: Any
    bootstrap: str
    partitions: int
    home: Path
    started: list["subprocess.Popen[bytes]"]

    def start(self, options: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start `pipeline ingest` as a user does."""
        settings = {
            "HOME": self.home,
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "PARTITIONS": self.partitions,
            "KINESIS_ENDPOINT": self.aws.kinesis_endpoint,
            "DYNAMODB_ENDPOINT": self.aws.dynamodb_endpoint,
        }
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "ingest", STREAM, *options],
                env={**os.environ, **{f"PIPELINE_{name}": str(value) for name, value in settings.items()}},
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def make_stream(self, shards: int = 2) -> int:
        """Make the stream again, empty, and give its epoch."""
        if STREAM in self.kinesis.list_streams()["StreamNames"]:
            self.kinesis.delete_stream(StreamName=STREAM, EnforceConsumerDeletion=True)
            self.kinesis.get_waiter("stream_not_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})
        self.kinesis.create_stream(StreamName=STREAM, ShardCount=shards)
        self.kinesis.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})
        return epoch_of(self.kinesis, STREAM)

    def put(self, records: dict[str, bytes]) -> None:
        """Put records by their partition keys."""
        items = list(records.items())
        for at in range(0, len(items), 500):
            answer = self.kinesis.put_records(
                StreamName=STREAM,
                Records=[{"PartitionKey": key, "Data": data} for key, data in items[at : at + 500]],
            )
            assert answer["FailedRecordCount"] == 0

    def checkpoints(self, epoch: int) -> dict[str, str]:
        return LeaseTable(self.dynamodb, f"pipeline-{STREAM}-{epoch}").checkpoints()


def eventually(call: Callable[[], Any], seconds: float = 15) -> Any:
    """Call until Kafka answers: a topic that was just declared has no leader yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def delete_records(admin: AdminClient, before: TopicPartition) -> None:
    for future in admin.delete_records([before]).values():
        future.result()


class Topic:
    """What arrives on the raw topic from now on, by stream epoch."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test"})
        starts = [TopicPartition(TOPIC, p) for p in range(partitions)]
        for start in starts:
            start.offset = eventually(partial(self._consumer.get_watermark_offsets, start))[1]
        self._consumer.assign(starts)
        self._all: list[tuple[TransportIdentity, Message]] = []

    def read(self, epoch: int, until: Callable[[list[Message]], bool], seconds: float = 60) -> list[Message]:
        """Give the messages of an epoch once they are enough."""
        deadline = time.monotonic() + seconds
        while not until(found := [m for identity, m in self._all if identity.stream_epoch == epoch]):
            assert time.monotonic() < deadline, f"only {len(found)} arrived"
            for message in self._consumer.consume(5000, 0.2):
                assert message.error() is None
                self._all.append((from_headers(STREAM, message.headers()), message))
        return found

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def world(platform: Any, tmp_path: Path) -> Iterator[World]:
    aws = Aws(REGION, platform.kinesis_endpoint, platform.kinesis_endpoint)
    admin = AdminClient({"bootstrap.servers": platform.kafka_bootstrap})
    if TOPIC not in partition_counts(admin):
        declare_topics(admin, TOPICS, partitions=platform.settings.partitions, replication=1)
    partitions = partition_counts(admin)[TOPIC]
    made = World(
        aws,
        aws.client("kinesis"),
        aws.client("dynamodb"),
        platform.kafka_bootstrap,
        partitions,
        tmp_path,
        [],
    )
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()
    for partition in range(partitions):
        eventually(partial(delete_records, admin, TopicPartition(TOPIC, partition, -1)))


@pytest.fixture
def topic(world: World) -> Iterator[Topic]:
    made = Topic(world.bootstrap, world.partitions)
    yield made
    made.close()


def events(start: int, count: int) -> dict[str, bytes]:
    return {
        f"key-{i}": json.dumps({"customer_id": f"c{i}", "n": i}).encode() for i in range(start, start + count)
    }


def has_values(wanted: dict[str, bytes]) -> Callable[[list[Message]], bool]:
    values = set(wanted.values())
    return lambda found: values <= {message.value() for message in found}


def stop(process: "subprocess.Popen[bytes]", number: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(40)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("options", BOTH)
def test_everything_arrives_once_as_it_was_put_and_is_not_read_again(
    world: World, topic: Topic, options: list[str]
) -> None:
    epoch = world.make_stream()
    put_at_ms = time.time() * 1000
    broken = {"broken-1": b"\xff\xfe no json", "broken-2": b"{", "å-3": b' {"customer_id": 7} '}
    put = {**events(0, 600), **broken, "largest": b"x" * 1_000_000}
    world.put({**put, "packed": PACKED})
    process = world.start(options)
    found = topic.read(epoch, lambda messages: len(messages) >= len(put) + 2)
    assert stop(process) == 0

    by_partition_key = {from_headers(STREAM, m.headers()).partition_key: m for m in found}
    assert len(found) == len(by_partition_key) == len(put) + 2
    for key, data in {**put, "first": b'{"customer_id":"a"}', "second": b"\xff\x00"}.items():
        message = by_partition_key[key]
        assert message.value() == data
        assert message.key() == key_of(data, key)
    identities = {from_headers(STREAM, m.headers()) for m in found}
    assert len({(i.shard, i.sequence_number, i.sub_sequence_number) for i in identities}) == len(found)
    assert {i.shard for i in identities} == {"shardId-000000000000", "shardId-000000000001"}
    assert {i.partition_key for i in identities if i.sub_sequence_number == 1} == {"second"}
    assert all(abs(i.arrived_at_ms - put_at_ms) < 60_000 for i in identities)
    last = {
        shard: str(max(int(i.sequence_number) for i in identities if i.shard == shard))
        for shard in {i.shard for i in identities}
    }
    assert world.checkpoints(epoch) == last

    more = events(1000, 10)
    world.put(more)
    world.start(options)
    found = topic.read(epoch, has_values(more))
    assert len(found) == len(put) + 2 + len(more)


@pytest.mark.parametrize("options", BOTH)
def test_nothing_is_lost_when_processes_are_killed(world: World, topic: Topic, options: list[str]) -> None:
    epoch = world.make_stream()
    put: dict[str, bytes] = {}

    def put_some(start: int) -> None:
        some = events(start, 1500)
        put.update(some)
        world.put(some)

    put_some(0)
    process = world.start(options)
    topic.read(epoch, lambda messages: len(messages) > 100)
    put_some(2000)
    if not options:  # one shard's process: the rest ends by itself, to be started again
        shards = [p for p in psutil.Process(process.pid).children(recursive=True) if "python" in p.name()]
        shards[0].kill()
        assert process.wait(10) == 75
        process = world.start(options)
        put_some(4000)
        topic.read(epoch, has_values(events(4000, 1)))
        put_some(6000)
    children = psutil.Process(process.pid).children(recursive=True)
    stop(process, signal.SIGKILL)
    wait_until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    put_some(8000)
    world.start(options)
    topic.read(epoch, has_values(put))


@pytest.mark.parametrize("options", BOTH)
def test_a_stream_that_is_made_again_is_read_from_its_beginning(
    world: World, topic: Topic, options: list[str]
) -> None:
    first = world.make_stream()
    world.put(events(0, 100))
    process = world.start(options)
    topic.read(first, has_values(events(0, 100)))
    second = world.make_stream()
    world.put(events(0, 70))
    assert process.wait(20) == 75
    world.start(options)
    assert second > first
    topic.read(second, has_values(events(0, 70)))


def test_a_missing_topic_and_a_missing_kafka_are_one_line(world: World) -> None:
    missing = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "ingest", STREAM],
        env={**os.environ, "PIPELINE_KAFKA_BOOTSTRAP": world.bootstrap, "PIPELINE_PARTITIONS": "999"},
        cwd=world.home,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert missing.returncode == 78
    assert missing.stderr.count("\n") == 1
    assert "PIPELINE_PARTITIONS" in missing.stderr
