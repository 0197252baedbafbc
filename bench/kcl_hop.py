"""From Kinesis to Kafka: records a second, and the processor time of each who has a hand in it.

    .venv/bin/python -m bench.kcl_hop --events 500000 --rounds 3

Three parts, each on the same records of the synthetic shop, to a real Kafka that acknowledges them all:

- `processor`: the record processor is given batches as objects, in a process of its own. This is what our
  own work costs: the messages, their keys and headers, the delivery, the checkpoint.
- `child`: the process that the daemon starts for a shard, with the daemon's protocol on its standard input
  from a file. What it takes more than the processor is the protocol.
- `daemon`: Amazon's MultiLangDaemon on the local emulator, whose stream is filled beforehand; its Java, our
  children and the emulator apart. Counted from the first record that is seen on Kafka on.
"""

import argparse
import base64
import contextlib
import gc
import json
import platform as machine
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from bench.stage.broker import running_broker
from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.local.programs import ingest_name, worker
from pipeline.prepare import make_topics
from pipeline.settings import load_settings
from producer.kinesis import MAX_BATCH_RECORDS, kinesis_client
from producer.records import Record
from producer.run import ProduceConfig, make_records
from streams.ingest.child import ChildConfig
from streams.ingest.forwarder import KafkaForwarder
from streams.ingest.messages import KinesisRecord
from streams.ingest.processor import ShardProcessor
from streams.ingest.stream_reader import Calls
from streams.kafka import KafkaConfig
from streams.topics import TOPICS, declare_topics, raw_topic

STREAM: Final = "product-events"
TOPIC: Final = raw_topic(STREAM)
PARTITIONS: Final = 4
PARTS: Final = ("processor", "child", "daemon")
POLL_SECONDS: Final = 0.05
GIVE_UP_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Run:
    """What one part took once; seconds of processor time by program."""

    records: int
    seconds: float
    cpu_seconds: dict[str, float]

    def figures(self) -> dict[str, Any]:
        """Give records a second of the clock, and microseconds of processor time a record by program."""
        cpu = {name: round(used / self.records * 1e6, 2) for name, used in self.cpu_seconds.items()}
        return {
            "records": self.records,
            "records_a_second": round(self.records / self.seconds),
            "cpu_microseconds_a_record": cpu,
        }


def shop_records(count: int) -> Iterator[Record]:
    """Give records of one stream, as the synthetic shop sends them."""
    config = ProduceConfig(seed=1, end=datetime.now(UTC), count=count * 4, days=1, customers=count // 100)
    found = (record for record in make_records(config) if record.stream == STREAM)
    for _, record in zip(range(count), found, strict=False):
        yield record


class SavedNowhere:
    """Takes checkpoints, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def checkpoint(self, sequence_number: str | None = None, sub_sequence_number: int | None = None) -> None:  # noqa: ARG002  (KCL's signature)
        """Count one."""
        self.count += 1


def run_processor(bootstrap: str, events: int, batch: int) -> None:
    """Be the process that is measured: forward all, and print what it took."""
    records = [
        KinesisRecord(str(10**20 + number), 0, one.partition_key, 1_700_000_000_000 + number, one.value)
        for number, one in enumerate(shop_records(events))
    ]
    batches = [records[at : at + batch] for at in range(0, len(records), batch)]
    processor = ShardProcessor(STREAM, 1, KafkaForwarder(KafkaConfig(bootstrap)), checkpoint_every_seconds=0)
    processor.initialize(Calls(shard_id="shardId-000000000000"))
    checkpointer = SavedNowhere()
    gc.collect()
    gc.freeze()  # a child does not hold all records at once
    processor.process_records(Calls(records=records[:batch], checkpointer=checkpointer))
    wall, cpu = time.monotonic(), time.process_time()
    for one in batches:
        processor.process_records(Calls(records=one, checkpointer=checkpointer))
    took = time.monotonic() - wall, time.process_time() - cpu
    if checkpointer.count != len(batches) + 1:
        raise SystemExit("not every batch was checkpointed")
    print(json.dumps({"records": len(records), "seconds": took[0], "cpu_seconds": {"processor": took[1]}}))


def measure_processor(bootstrap: str, events: int, batch: int) -> Run:
    """Run the processor in a process of its own."""
    command = [sys.executable, "-m", "bench.kcl_hop", "--processor", bootstrap]
    arguments = ["--events", str(events), "--batch", str(batch)]
    ran = subprocess.run([*command, *arguments], capture_output=True, check=True)
    return Run(**json.loads(ran.stdout))


def protocol(records: Sequence[Record], batch: int) -> Iterator[dict[str, Any]]:
    """Give what the daemon would say: batches, each with the answer to the checkpoint after it."""
    saved = {"action": "checkpoint", "sequenceNumber": "", "subSequenceNumber": 0, "error": None}
    yield {
        "action": "initialize",
        "shardId": "shardId-000000000000",
        "sequenceNumber": "TRIM_HORIZON",
        "subSequenceNumber": 0,
    }
    for at in range(0, len(records), batch):
        lines = [
            {
                "action": "record",
                "data": base64.b64encode(one.value).decode(),
                "partitionKey": one.partition_key,
                "sequenceNumber": str(10**20 + number),
                "subSequenceNumber": 0,
                "approximateArrivalTimestamp": 1_700_000_000_000 + number,
            }
            for number, one in enumerate(records[at : at + batch], at)
        ]
        yield {"action": "processRecords", "records": lines, "millisBehindLatest": 0}
        yield saved


def run_child(config: Path, said: Path) -> tuple[float, float]:
    """Run a child on a file of the protocol; give wall and processor seconds of its whole life."""
    with said.open("rb") as given:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "streams.ingest.child", str(config)],
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = psutil.Process().cpu_times()
        if child.wait() != 0:
            raise SystemExit("the child failed")
        seconds = time.monotonic() - began
    after = psutil.Process().cpu_times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


def measure_child(bootstrap: str, events: int, batch: int, folder: Path) -> Run:
    """Run a child on all records, and one on none: the difference is what the records took."""
    records = list(shop_records(events))
    config = folder / "child.json"
    config.write_bytes(msgspec.json.encode(ChildConfig(STREAM, 1, KafkaConfig(bootstrap), 0.0)))
    took = []
    for given in ([], records):
        said = folder / "protocol"
        with said.open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in protocol(given, batch))
        took.append(run_child(config, said))
    (start, start_cpu), (seconds, cpu) = took
    return Run(len(records), seconds - start, {"child": cpu - start_cpu})


def measure_daemon(events: int) -> Run:
    """Fill the emulator's stream, and let Amazon's daemon drain it."""
    with tempfile.TemporaryDirectory(prefix="kcl-hop-") as name:
        settings = load_settings(
            home=Path(name), kafka_port=free_port(), postgres_port=free_port(), kinesis_port=free_port()
        )
        program = ingest_name(STREAM)
        with LocalPlatform(settings, [worker(program, "ingest", STREAM)]) as platform:
            make_topics(platform.settings)
            filled = fill(platform, events)
            admin = AdminClient(platform.settings.kafka.librdkafka())
            platform.start_workers()
            deadline = time.monotonic() + GIVE_UP_SECONDS
            while not (first := arrived(admin)):
                _wait(deadline)
            began, before = time.monotonic(), cpu_by_part(platform, program)
            while (there := arrived(admin)) < filled:
                _wait(deadline)
            seconds, after = time.monotonic() - began, cpu_by_part(platform, program)
            if there != filled:
                raise SystemExit(f"{filled} records were put, {there} arrived")
            platform.stop_worker(program)
    cpu = {part: used - before.get(part, 0.0) for part, used in after.items()}
    return Run(filled - first, seconds, cpu)


def fill(platform: LocalPlatform, events: int) -> int:
    """Put records into the emulator's stream; give their number."""
    kinesis = kinesis_client(
        region=platform.settings.aws_region, endpoint=platform.kinesis_endpoint, local=True
    )
    records = [{"Data": one.value, "PartitionKey": one.partition_key} for one in shop_records(events)]
    for at in range(0, len(records), MAX_BATCH_RECORDS):
        answer = kinesis.put_records(StreamName=STREAM, Records=records[at : at + MAX_BATCH_RECORDS])
        if answer["FailedRecordCount"]:
            raise SystemExit("the emulator refused records")
    return len(records)


def cpu_by_part(platform: LocalPlatform, program: str) -> dict[str, float]:
    """Give the processor seconds so far: the daemon's Java, our children, the launcher, the two servers."""
    states = platform.states()
    found: dict[str, float] = {}
    root = psutil.Process(states[program].pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = process.cmdline()
            part = "launcher"
            if "streams.ingest.child" in line:
                part = "child"
            elif any("MultiLangDaemon" in word for word in line):
                part = "java"
            found[part] = found.get(part, 0.0) + sum(process.cpu_times()[:2])
    for server in ("kinesis", "kafka"):
        root = psutil.Process(states[server].pid)
        found[server] = sum(
            sum(process.cpu_times()[:2]) for process in (root, *root.children(recursive=True))
        )
    return found


def arrived(admin: AdminClient) -> int:
    """Give the number of records on the raw topic."""
    wanted = {TopicPartition(TOPIC, number): OffsetSpec.latest() for number in range(PARTITIONS)}
    return sum(future.result().offset for future in admin.list_offsets(wanted).values())


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise SystemExit("the records did not come through in time")
    time.sleep(POLL_SECONDS)


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Give the median, lowest and highest of each figure."""

    def spread(values: Sequence[float]) -> dict[str, float]:
        return {"median": round(statistics.median(values), 2), "min": min(values), "max": max(values)}

    found = [run.figures() for run in runs]
    parts = found[0]["cpu_microseconds_a_record"]
    return {
        "records_a_second": spread([one["records_a_second"] for one in found]),
        "cpu_microseconds_a_record": {
            part: spread([one["cpu_microseconds_a_record"].get(part, 0.0) for one in found]) for part in parts
        },
    }


def measure(parts: Sequence[str], events: int, batch: int, rounds: int) -> dict[str, list[Run]]:
    """Run the parts in turn, several times."""
    found: dict[str, list[Run]] = {part: [] for part in parts}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="kcl-hop-") as name:
            folder = Path(name)
            with running_broker(folder / "kafka") as (bootstrap, _):
                admin = AdminClient(KafkaConfig(bootstrap).librdkafka())
                raw = [topic for topic in TOPICS if topic.name == TOPIC]
                declare_topics(admin, raw, partitions=PARTITIONS, replication=1)
                if "processor" in parts:
                    found["processor"].append(measure_processor(bootstrap, events, batch))
                if "child" in parts:
                    found["child"].append(measure_child(bootstrap, events, batch, folder))
        if "daemon" in parts:
            found["daemon"].append(measure_daemon(events))
        for part, runs in found.items():
            print(part, json.dumps(runs[-1].figures()), flush=True)
    return found


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=10_000, help="records in a batch (KCL's maxRecords)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; can be repeated")
    parser.add_argument("--json", type=Path, default=Path("bench/results/kcl_hop.json"))
    parser.add_argument("--processor", metavar="BOOTSTRAP", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.processor:
        run_processor(given.processor, given.events, given.batch)
        return
    found = measure(given.part or PARTS, given.events, given.batch, given.rounds)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": psutil.cpu_count(), "python": machine.python_version()},
        "batch": given.batch,
        "parts": {part: summary(runs) for part, runs in found.items()},
        "rounds": {part: [run.figures() for run in runs] for part, runs in found.items()},
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["parts"], indent=1))


if __name__ == "__main__":
    main()
