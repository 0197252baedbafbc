"""How long a worker takes to have its state again: from the start of the process to the first batch done.

    .venv/bin/python -m bench.recovery --keys 1000000 --value-bytes 300

Fills the changelog of a stage, 4 partitions, and writes a record to each partition of its topic. Then a
worker is started with nothing on disk (all is read from the changelog), killed with `kill -9`, and started
again on the disk as the kill has left it. A stage that sends one output for each record stands for real work.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from bench.stage.broker import running_broker
from bench.stage.watch import ends
from bench.stage.workload import PARTITIONS
from streams.engine.app import create_app, run_worker
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.engine.changelog import changelog_topic, changelog_topics
from streams.engine.config import EngineConfig
from streams.engine.offline import partition_of
from streams.engine.table import pack
from streams.groups import members_of
from streams.kafka import KafkaConfig
from streams.silver import Revision
from streams.topics import Topic, declare_topics

TOPIC: Final = "recovery-in"
OUTPUT: Final = "recovery-out"
GROUP: Final = "recovery"
LATE_EPOCH: Final = 10**14
"""Milliseconds since 1970, far ahead: what was written before the worker's own epoch would not be seen."""
GIVE_UP_SECONDS: Final = 300.0
POLL_SECONDS: Final = 0.05


class EchoStage:
    """Sends the state of each record's key."""

    name = "echo"
    topic = TOPIC
    stateful = True
    state_settings: Mapping[str, str] = MappingProxyType({})

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (the engine's signature)
        """Send what is known of each key; the key has it still."""
        keys = {record.key for record in batch.records if record.key is not None}
        known = {key: state.get(key) for key in keys}
        return Result([Output(OUTPUT, key, value) for key, value in known.items()], known)


def fill(bootstrap: str, keys: int, value_bytes: int) -> None:
    """Write one state for each key."""
    producer = Producer(KafkaConfig(bootstrap).librdkafka_producer())
    changelog = changelog_topic(GROUP, EchoStage.name)
    random_ = random.Random(1)  # noqa: S311  (values that do not compress)
    for number in range(keys):
        key = b"customer-%08d" % number
        partition = partition_of(key, PARTITIONS)
        value = pack(Revision(LATE_EPOCH, number), random_.randbytes(value_bytes))
        while True:
            try:
                producer.produce(changelog, value, key, partition)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def start(bootstrap: str, folder: Path) -> tuple[float, int, int]:
    """Start a worker on a record in each partition, wait for all outputs, and kill it.

    It returns when the brokers have given the worker up, so their waiting for it is not part of the next
    figure.

    Returns:
        seconds to the last output; its processor milliseconds; its memory at that time in MiB.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    producer = Producer(KafkaConfig(bootstrap).librdkafka_producer())
    for partition in range(PARTITIONS):
        producer.produce(TOPIC, b"{}", b"customer-00000000", partition)
    producer.flush()
    before = ends(admin, OUTPUT)
    began = time.monotonic()
    worker = subprocess.Popen([sys.executable, "-m", "bench.recovery", "--worker", bootstrap, str(folder)])
    usage = psutil.Process(worker.pid)
    while ends(admin, OUTPUT) < before + PARTITIONS:
        if time.monotonic() - began > GIVE_UP_SECONDS or worker.poll() is not None:
            raise SystemExit("the worker gave nothing")
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - began
    times, memory = usage.cpu_times(), usage.memory_info().rss
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    while members_of(KafkaConfig(bootstrap), GROUP):
        time.sleep(POLL_SECONDS)
    return seconds, round((times.user + times.system) * 1000), memory // 2**20


def measure(keys: int, value_bytes: int) -> dict[str, Any]:
    """Fill, start on nothing, start again on what is there."""
    with tempfile.TemporaryDirectory(prefix="recovery-") as name:
        folder = Path(name)
        with running_broker(folder / "kafka") as (bootstrap, _):
            admin = AdminClient({"bootstrap.servers": bootstrap})
            topics = [Topic(TOPIC), Topic(OUTPUT), *changelog_topics(GROUP, [EchoStage()])]
            declare_topics(admin, topics, partitions=PARTITIONS, replication=1)
            fill(bootstrap, keys, value_bytes)
            found: dict[str, Any] = {"keys": keys, "value_bytes": value_bytes}
            for what in ("from the changelog", "from the disk after kill -9"):
                seconds, cpu, memory = start(bootstrap, folder / "state")
                found[what] = {"seconds": round(seconds, 1), "cpu_ms": cpu, "memory_mb": memory}
            return found


def run(bootstrap: str, folder: str) -> int:
    """Be the worker."""
    config = EngineConfig(GROUP, KafkaConfig(bootstrap), PARTITIONS, Path(folder), session_timeout_seconds=6)
    return run_worker(create_app(config, stages=[EchoStage()]))


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=300)
    parser.add_argument("--json", type=Path, default=Path("bench/results/recovery.json"))
    parser.add_argument("--worker", nargs=2, metavar=("BOOTSTRAP", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        sys.exit(run(*given.worker))
    found = measure(given.keys, given.value_bytes)
    print(json.dumps(found, indent=1))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
