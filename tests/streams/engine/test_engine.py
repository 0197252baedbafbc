"""The engine on a real broker: two workers share partitions, are killed and stopped, and nothing is lost."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.local.platform import LocalPlatform
from streams.engine.app import STOP_DEADLINE_SECONDS
from streams.engine.changelog import ChangelogReader, changelog_topic, new_consumer
from streams.engine.crash import EXIT_CRASH, EXIT_OPERATOR
from streams.engine.table import EPOCH_KEY, PartitionTable
from streams.kafka import KafkaConfig
from streams.lag import topic_lags
from streams.topics import Topic, declare_topics, partition_counts

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

PARTITIONS = 4
KEYS = 50
WORKER = Path(__file__).with_name("union_worker.py")


class World:
    """A topic, what reads it, and what was put into it."""

    def __init__(self, platform: LocalPlatform, name: str, state: Path) -> None:
        self.kafka = KafkaConfig(platform.kafka_bootstrap)
        self.app_id, self.topic, self.output, self.state = name, f"{name}.in", f"{name}.out", state
        self.sent: dict[bytes, set[bytes]] = {}
        self.workers: list[subprocess.Popen[bytes]] = []
        self._producer = Producer(self.kafka.librdkafka_producer())
        topics = [
            Topic(self.topic),
            Topic(self.output),
            Topic(changelog_topic(name, "union"), compacted=True),
        ]
        declare_topics(AdminClient(self.kafka.librdkafka()), topics, partitions=PARTITIONS, replication=1)

    @property
    def command(self) -> list[str]:
        arguments = [self.app_id, self.topic, self.output, str(self.state), str(PARTITIONS)]
        return [sys.executable, str(WORKER), self.kafka.bootstrap, *arguments]

    def start_worker(self) -> subprocess.Popen[bytes]:
        command = self.command
        worker = subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL)
        self.workers.append(worker)
        return worker

    def send(self, count: int) -> None:
        start = sum(map(len, self.sent.values()))
        for number in range(start, start + count):
            key, value = b"k%d" % (number % KEYS), b"%d" % number
            self.sent.setdefault(key, set()).add(value)
            self._producer.produce(self.topic, value, key)
        self._producer.flush()

    def lag(self) -> int:
        (lag,) = topic_lags(self.kafka, self.app_id, [self.topic])
        return lag.lag

    def wait(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not reached():
            assert time.monotonic() < deadline, f"lag {self.lag()}"
            time.sleep(0.2)

    def handed_on(self) -> dict[bytes, set[bytes]]:
        consumer = Consumer({**self.kafka.librdkafka(), "group.id": "test", "enable.partition.eof": True})
        consumer.assign([TopicPartition(self.output, p, 0) for p in range(PARTITIONS)])
        found: dict[bytes, set[bytes]] = {}
        ended = 0
        while ended < PARTITIONS:
            for message in consumer.consume(1000, timeout=1):
                if message.error() is not None:
                    ended += 1
                else:
                    found.setdefault(message.key() or b"", set()).add(message.value() or b"")
        consumer.close()
        return found

    def recovered(self, folder: Path) -> dict[bytes, set[bytes]]:
        """The state as a worker without a local copy would recover it."""
        found = {}
        bounds = new_consumer(self.kafka)
        for partition in range(PARTITIONS):
            changelog = ChangelogReader(self.kafka, changelog_topic(self.app_id, "union"), partition, bounds)
            table = PartitionTable(folder / str(partition), changelog)
            table.recover()
            for key in self.sent:
                value = table.get(key)
                if value is not None and key != EPOCH_KEY:
                    found[key] = set(value.split(b","))
            table.close()
        bounds.close()
        return found


@pytest.fixture
def world(platform: LocalPlatform, unique: Callable[[str], str], tmp_path: Path) -> Iterator[World]:
    world = World(platform, unique("union"), tmp_path / "state")
    yield world
    for worker in world.workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


def test_two_workers_killed_in_turn_lose_nothing(world: World, tmp_path: Path) -> None:
    world.send(5_000)
    first, second = world.start_worker(), world.start_worker()
    for _ in range(2):
        world.wait(lambda: world.lag() < 4_000)
        world.send(5_000)
        os.kill(first.pid, signal.SIGKILL)
        first, second = second, world.start_worker()
    world.wait(lambda: world.lag() == 0)
    assert world.handed_on() == world.sent
    assert world.recovered(tmp_path / "again") == world.sent


def test_a_log_that_ends_before_what_is_committed_is_not_read_on_in_silence(
    world: World, tmp_path: Path
) -> None:
    """As after the brokers have lost records: what comes new would be taken for done."""
    world.send(100)
    worker = world.start_worker()
    world.wait(lambda: world.lag() == 0)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    places = [TopicPartition(world.topic, partition, 1_000) for partition in range(PARTITIONS)]
    admin = AdminClient(world.kafka.librdkafka())
    altered = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(world.app_id, places)])
    assert [place.error for place in altered[world.app_id].result().topic_partitions] == [None] * PARTITIONS
    world.send(100)
    log = tmp_path / "log"
    with log.open("wb") as file:
        worker = subprocess.Popen(world.command, cwd=Path(__file__).parents[3], stderr=file)
    world.workers.append(worker)
    assert worker.wait(timeout=60) == EXIT_OPERATOR
    said = log.read_text()
    assert re.search(rf"{re.escape(world.topic)}\[\d\]: 1000 is committed, and the log ends at \d+:", said)
    assert "--reset-offsets --to-earliest" in said
    assert "Traceback" not in said
    assert world.handed_on() == {
        key: {v for v in values if int(v) < 100} for key, values in world.sent.items()
    }


def test_a_sink_that_hangs_does_not_keep_the_worker_from_ending(world: World) -> None:
    """Its thread cannot be ended; the process can."""
    code = f"""
import sys, time
from pathlib import Path
from streams.engine.app import create_app, run_worker
from streams.engine.config import EngineConfig
from streams.kafka import KafkaConfig
class Hung:
    name, topic = "hung", {world.topic!r}
    def write(self, group):
        print("writes", flush=True)
        time.sleep(3600)
kafka = KafkaConfig({world.kafka.bootstrap!r})
config = EngineConfig({world.app_id!r}, kafka, {PARTITIONS}, Path({str(world.state)!r}))
sys.exit(run_worker(create_app(config, sinks=[Hung()])))
"""
    world.send(100)
    worker = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    world.workers.append(worker)
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.readline() == b"writes\n"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=STOP_DEADLINE_SECONDS + 10) == EXIT_CRASH


def test_a_stopped_worker_has_committed_all_it_did_and_a_new_one_goes_on_from_there(
    world: World, tmp_path: Path
) -> None:
    world.send(3_000)
    worker = world.start_worker()
    world.wait(lambda: world.lag() == 0)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    assert world.lag() == 0
    world.send(1_000)
    world.start_worker()
    world.wait(lambda: world.lag() == 0)
    assert world.recovered(tmp_path / "again") == world.sent


def test_a_worker_that_lost_its_local_state_makes_it_again(world: World, tmp_path: Path) -> None:
    world.send(2_000)
    worker = world.start_worker()
    world.wait(lambda: world.lag() == 0)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    (folder,) = (path for path in (world.state / world.app_id).iterdir() if path.is_dir())
    folder.rename(tmp_path / "lost")
    world.send(2_000)
    world.start_worker()
    world.wait(lambda: world.lag() == 0)
    assert world.recovered(tmp_path / "again") == world.sent


def test_a_worker_refuses_a_state_that_was_made_with_other_settings(world: World) -> None:
    world.send(100)
    worker = world.start_worker()
    world.wait(lambda: world.lag() == 0)
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=20)
    done = subprocess.run(
        world.command,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "UNION_FLAVOUR": "sour"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EXIT_OPERATOR
    assert "flavour is sour, the state was made with plain" in done.stderr


def test_a_worker_refuses_to_go_on_when_its_input_was_made_again(world: World) -> None:
    world.send(100)
    worker = world.start_worker()
    world.wait(lambda: world.lag() == 0)
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=20)
    admin = AdminClient(world.kafka.librdkafka())
    admin.delete_topics([world.topic])[world.topic].result()
    world.wait(lambda: world.topic not in partition_counts(admin))
    declare_topics(admin, [Topic(world.topic)], partitions=PARTITIONS, replication=1)
    done = subprocess.run(
        world.command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == EXIT_OPERATOR
    assert f"id of {world.topic}" in done.stderr


def test_a_missing_topic_is_refused_with_what_to_do(world: World) -> None:
    command = [sys.executable, str(WORKER), world.kafka.bootstrap, world.app_id, "no.such.topic"]
    done = subprocess.run(
        [*command, world.output, str(world.state), str(PARTITIONS)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no.such.topic" in done.stderr
    assert "pipeline topics" in done.stderr
