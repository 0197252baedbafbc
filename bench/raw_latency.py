"""Seconds from an event's being on its raw topic to its row in silver being visible, at several loads.

    .venv/bin/python -m bench.raw_latency --rate 12000

Starts Kafka, Postgres, one `process` and one `sink` worker in a home that is thrown away. The synthetic
shop's events of all four streams are produced to the raw topics at 10, 50 and 80 % of `--rate`, which is best
the throughput that `bench.throughput` found on this machine. Some purchases a second among them are watched:
an event's clock starts just before it is handed to the producer and stops when a query has returned its id.
"""

import argparse
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import psutil
from confluent_kafka import Producer

from bench.drains import WORKERS, cpu_by_program, raw_messages, waiting
from bench.latency import Watch, look_until_seen, make_event
from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.local.programs import worker
from pipeline.prepare import start_pipeline
from pipeline.settings import load_settings
from producer.records import Record
from producer.run import ProduceConfig, make_records
from streams.ingest.messages import Message

SHARES: Final = "0.1,0.5,0.8"
WATCHED_A_SECOND: Final = 50
TICK_SECONDS: Final = 0.005
POLL_SECONDS: Final = 0.02
LINGER_MS: Final = 100
"""An ingest worker sends what it has read at once; one record a request would be a load that none makes."""
DRAIN_SECONDS: Final = 120.0


def watched(count: int, first: int) -> list[tuple[uuid.UUID, Message]]:
    """Make purchases to be watched, and their messages for the raw topic."""
    ids = [uuid.uuid4() for _ in range(count)]
    records = [
        Record("transaction-events", make_event(event_id, number), f"latency-{number % 2000}")
        for number, event_id in enumerate(ids)
    ]
    return list(zip(ids, raw_messages(records, first), strict=True))


def produce_evenly(
    producer: Producer,
    load: Sequence[Message],
    probes: Sequence[tuple[uuid.UUID, Message]],
    watch: Watch,
    seconds: float,
) -> float:
    """Hand load and probes to the producer, both at an even rate; give how late it was at worst (seconds)."""
    began, sent, probed, late = time.monotonic(), 0, 0, 0.0
    while (now := time.monotonic() - began) < seconds:
        due = min(len(load), int(len(load) * now / seconds))
        for message in load[sent:due]:
            producer.produce(message.topic, message.value, message.key, headers=message.headers)
        sent = due
        due_probes = min(len(probes), int(len(probes) * now / seconds))
        for event_id, message in probes[probed:due_probes]:
            watch.put([event_id], time.monotonic())
            producer.produce(message.topic, message.value, message.key, headers=message.headers)
        probed = due_probes
        producer.poll(0)
        late = max(late, time.monotonic() - began - now)
        time.sleep(TICK_SECONDS)
    producer.flush()
    return late


def step(platform: LocalPlatform, rate: float, seconds: float, warm_up: float, first: int) -> dict[str, Any]:
    """Measure at one rate; gives the figures."""
    settings = platform.settings
    url = settings.postgres_url.get_secret_value()
    count = int(rate * (warm_up + seconds))
    config = ProduceConfig(seed=first // 10**9, end=datetime.now(UTC), count=count, days=1)
    load = list(raw_messages(make_records(config), first))
    split = int(rate * warm_up)
    probes = watched(int(WATCHED_A_SECOND * seconds), first + 5 * 10**8)
    producer = Producer({**settings.kafka.librdkafka_producer(), "linger.ms": LINGER_MS})
    produce_evenly(producer, load[:split], [], Watch(), warm_up)
    watch, is_over = Watch(), threading.Event()
    looking = threading.Thread(target=look_until_seen, args=(url, watch, is_over, POLL_SECONDS))
    looking.start()
    cpu_before, programs_before = psutil.cpu_times(), cpu_by_program(platform)
    try:
        late = produce_evenly(producer, load[split:], probes, watch, seconds)
        idle = psutil.cpu_times().idle - cpu_before.idle
        programs = cpu_by_program(platform)
        left = sum(waiting(settings).values())
    finally:
        is_over.set()
        looking.join()
    deadline = time.monotonic() + DRAIN_SECONDS
    while any(waiting(settings).values()) and time.monotonic() < deadline:
        time.sleep(0.5)
    latencies = sorted(watch.seconds.values())
    cuts = quantiles(latencies, n=100, method="inclusive")
    return {
        "rate": rate,
        "watched": len(latencies),
        "not_seen": len(watch.under_way()),
        **{f"p{n}_ms": round(cuts[n - 1] * 1000) for n in (50, 95, 99)},
        "max_ms": round(latencies[-1] * 1000),
        "producer_late_max_ms": round(late * 1000),
        "waiting_at_the_end": left,
        "cores_busy": round((os.cpu_count() or 1) - idle / seconds, 2),
        "cores_by_program": {
            kind: round((used - programs_before.get(kind, 0.0)) / seconds, 2)
            for kind, used in programs.items()
        },
    }


def main() -> None:
    """Measure at each load, and write down what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, required=True, help="events a second that 100 %% are")
    parser.add_argument("--shares", default=SHARES, help="of it that are tried")
    parser.add_argument("--seconds", type=float, default=30, help="how long each load is measured")
    parser.add_argument("--warm-up", type=float, default=15, help="seconds of each load before")
    parser.add_argument("--json", type=Path, default=Path("bench/results/raw-latency.json"))
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="raw-latency-") as home:
        settings = load_settings(
            home=Path(home), kafka_port=free_port(), postgres_port=free_port(), kinesis_port=free_port()
        )
        with LocalPlatform(settings, [worker(name, name) for name in WORKERS]) as platform:
            start_pipeline(platform)
            for number, share in enumerate(map(float, given.shares.split(",")), 1):
                figures = step(platform, given.rate * share, given.seconds, given.warm_up, number * 10**9)
                found.append({"share": share, **figures})
                print(json.dumps(found[-1]), flush=True)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
