"""History written to the raw topics of a pipeline that has long been idle, against events of the day.

    .venv/bin/python bench/history.py --events 1000000

It starts Kafka, Postgres, one `process` and one `sink` worker in a home that is thrown away, and writes
the synthetic shop's events to the raw topics, behind Kinesis. Three drains, each timed from the first batch
done to the last session applied to Postgres:

- `day`: events of one day, of many visitors: all state is hot;
- `history`: a year of them, after the workers were stopped and started again, so that caches are empty;
- `again`: other events of the same year and the same visitors: their day records are read from disk.

The figures are records a second. What counts is their ratio to `day`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import psutil
from confluent_kafka import Producer

from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.local.programs import worker
from pipeline.prepare import start_pipeline
from pipeline.settings import Settings, load_settings
from pipeline.status import RAW, SUNK
from producer.records import Record
from producer.run import ProduceConfig, make_records
from streams.events import key_of
from streams.lag import topic_lags
from streams.topics import CLEAN_EVENTS, CLEAN_PRODUCTS, PROCESS_GROUP, SINK_GROUP, raw_topic
from streams.transport import TransportIdentity, to_headers

POLL_SECONDS = 0.5
MOST_UNDER_WAY = 50_000
WORKERS = ("process", "sink")


def write(settings: Settings, records: Iterable[Record], first: int) -> int:
    """Write records to the raw topics as ingest workers do, and give their number."""
    producer = Producer(settings.kafka.librdkafka_producer())
    arrived_at_ms = round(time.time() * 1000)
    number = 0
    for number, record in enumerate(records, start=1):
        identity = TransportIdentity(
            stream=record.stream,
            stream_epoch=1,
            shard=f"shardId-{crc32(record.partition_key.encode()) % 2:012d}",
            sequence_number=str(10**20 + first + number),
            sub_sequence_number=0,
            partition_key=record.partition_key,
            arrived_at_ms=arrived_at_ms,
        )
        key = key_of(record.value, record.partition_key)
        producer.produce(raw_topic(record.stream), record.value, key, headers=to_headers(identity))
        while len(producer) > MOST_UNDER_WAY:
            producer.poll(0.1)
    producer.flush()
    return number


def lag(settings: Settings) -> dict[str, int]:
    """Give what waits before the stages, and before the sinks."""
    stages = topic_lags(settings.kafka, PROCESS_GROUP, (*RAW, CLEAN_EVENTS, CLEAN_PRODUCTS))
    sinks = topic_lags(settings.kafka, SINK_GROUP, SUNK)
    return {"process": sum(hop.lag for hop in stages), "sink": sum(hop.lag for hop in sinks)}


def drain(platform: LocalPlatform, name: str, records: Iterator[Record], first: int) -> dict[str, Any]:
    """Write records while the workers are stopped, start them, and time how long they take."""
    settings = platform.settings
    for one in WORKERS:
        platform.stop_worker(one)
    count = write(settings, records, first)
    began = time.monotonic()
    cpu_before = cpu_seconds(platform)
    platform.start_workers(WORKERS)
    done: dict[str, float] = {}
    peak, started, at_first = dict.fromkeys(WORKERS, 0), 0.0, lag(settings)["process"]
    while len(done) < len(WORKERS):
        time.sleep(POLL_SECONDS)
        peak = {one: max(most, memory_mb(platform, one)) for one, most in peak.items()}
        waiting = lag(settings)
        if not started and waiting["process"] != at_first:
            started = time.monotonic() - began
        for one in WORKERS:
            if waiting[one] == 0 and (one == "process" or "process" in done):
                done.setdefault(one, time.monotonic() - began)
            elif waiting[one]:
                done.pop(one, None)
    cpu = {one: seconds - cpu_before.get(one, 0) for one, seconds in cpu_seconds(platform).items()}
    return {
        "name": name,
        "records": count,
        "starting_seconds": round(started, 1),
        "stages_seconds": round(done["process"] - started, 1),
        "all_seconds": round(done["sink"] - started, 1),
        "stages_records_a_second": round(count / (done["process"] - started + POLL_SECONDS)),
        "records_a_second": round(count / (done["sink"] - started + POLL_SECONDS)),
        "cpu_microseconds_a_record": {one: round(seconds / count * 1e6, 1) for one, seconds in cpu.items()},
        "peak_mb": peak,
    }


def cpu_seconds(platform: LocalPlatform) -> dict[str, float]:
    """Give what each worker has used since it was started; nothing for one that does not run."""
    found = {}
    for name, state in platform.states().items():
        if name in WORKERS and state.is_running:
            times = psutil.Process(state.pid).cpu_times()
            found[name] = times.user + times.system
    return found


def memory_mb(platform: LocalPlatform, name: str) -> int:
    """Give a worker's resident memory."""
    state = platform.states()[name]
    try:
        return int(psutil.Process(state.pid).memory_info().rss // 2**20) if state.is_running else 0
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Run the three drains and print them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--events", type=int, default=1_000_000, help="of the history; others are a third of it"
    )
    parser.add_argument("--days", type=float, default=365, help="length of the history")
    arguments = parser.parse_args()
    end = datetime.now(UTC)
    third = arguments.events // 3

    def shop(seed: int, count: int, days: float, until: datetime) -> Iterator[Record]:
        config = ProduceConfig(
            seed=seed, end=until, count=count, days=days, customers=arguments.events // 200
        )
        return make_records(config)

    with tempfile.TemporaryDirectory(prefix="history-") as home:
        settings = load_settings(
            home=Path(home),
            kafka_port=free_port(),
            postgres_port=free_port(),
            kinesis_port=free_port(),
        )
        with LocalPlatform(settings, [worker(name, name) for name in WORKERS]) as platform:
            start_pipeline(platform)
            drains = (
                ("day", shop(1, third, 1, end), 0),
                ("history", shop(1, arguments.events, arguments.days, end - timedelta(days=1)), 10**9),
                ("again", shop(1, third, arguments.days, end - timedelta(days=1, hours=1)), 2 * 10**9),
            )
            found = [drain(platform, *one) for one in drains]
    for one in found:
        for figure in ("stages_records_a_second", "records_a_second"):
            one[f"{figure}_to_day"] = round(one[figure] / found[0][figure], 2)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
