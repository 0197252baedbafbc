"""Seconds from an event's put on Kinesis to its row in silver_transactions being visible to a reader.

    PIPELINE_HOME=/tmp/bench .venv/bin/pipeline up --no-produce     # in one terminal
    PIPELINE_HOME=/tmp/bench .venv/bin/python bench/latency.py      # in another

or `bench/latency.py --start`, which runs `pipeline up --no-produce` itself, in a home that is thrown away.

Purchases are put at an even rate. An event's clock starts just before the PutRecords call that carries it,
and stops when a query, asked every few milliseconds, has returned its id. By default every fifth event is
watched: to ask for all of them would take CPU from what is measured. In the end all of them are counted.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from pipeline.settings import Settings, load_settings
from producer.kinesis import kinesis_client

STREAM: Final = "transaction-events"
CUSTOMERS: Final = 2_000
GIVE_UP_SECONDS: Final = 60.0
FIRST_EVENT_SECONDS: Final = 180.0
SEEN: Final = "SELECT event_id FROM silver.silver_transactions WHERE event_id = ANY(%s)"
HOPS: Final = """
    SELECT
        hop,
        count(*),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY age_seconds),
        percentile_cont(0.99) WITHIN GROUP (ORDER BY age_seconds)
    FROM ops.ops_hops
    WHERE at > %s AND stream = %s
    GROUP BY hop
    ORDER BY 3
"""


def make_event(event_id: uuid.UUID, number: int) -> bytes:
    """Give a purchase that happens now, of about 450 bytes."""
    item = {"product_id": f"p-{number % 300}", "category": "books", "quantity": 1, "unit_price": "19.90"}
    event = {
        "event_id": str(event_id),
        "event_type": "purchase",
        "occurred_at": datetime.now(UTC).isoformat(),
        "customer_id": f"latency-{number % CUSTOMERS}",
        "order_id": f"latency-{event_id}",
        "amount": "19.90",
        "currency": "EUR",
        "items": [item],
        "payment_method": "card",
        "context": {"page_url": "https://shop.example/thanks", "country": "CH"},
    }
    return json.dumps(event).encode()


class Watch:
    """What was put when, and what was seen when; shared by the two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[uuid.UUID, float] = {}
        self.seconds: dict[uuid.UUID, float] = {}

    def put(self, ids: Sequence[uuid.UUID], at: float) -> None:
        """Note that events are put now."""
        with self._lock:
            self._under_way.update(dict.fromkeys(ids, at))

    def under_way(self) -> list[uuid.UUID]:
        """Give the events that are not seen yet."""
        with self._lock:
            return list(self._under_way)

    def seen(self, ids: Sequence[uuid.UUID], at: float) -> None:
        """Note that events are visible."""
        with self._lock:
            for event_id in ids:
                self.seconds[event_id] = at - self._under_way.pop(event_id)


def put_evenly(
    client: Any, watch: Watch, *, rate: float, seconds: float, every_seconds: float, sample: int
) -> dict[str, float]:
    """Put events for a while, a small request every few milliseconds; block until all are taken.

    A request that is late is sent at once; how late they are is part of the answer: if that grows, the
    emulator does not keep up with the rate.
    """
    began = time.monotonic()
    number, late, calls = 0, [], []
    while (due := number / rate) < seconds:
        time.sleep(max(0.0, began + due + every_seconds - time.monotonic()))
        now = time.monotonic()
        late.append(now - began - due - every_seconds)
        count = max(1, int((now - began) * rate) - number)
        ids = [uuid.uuid4() for _ in range(min(count, 500))]
        watch.put([i for n, i in enumerate(ids, number) if n % sample == 0], now)
        records = [
            {"Data": make_event(i, n), "PartitionKey": f"latency-{n % CUSTOMERS}"}
            for n, i in enumerate(ids, number)
        ]
        answer = client.put_records(StreamName=STREAM, Records=records)
        if answer["FailedRecordCount"]:
            raise SystemExit(f"Kinesis refused {answer['FailedRecordCount']} of {len(ids)} records")
        calls.append(time.monotonic() - now)
        number += len(ids)
    return {
        "events": number,
        "rate": number / (time.monotonic() - began),
        "put_call_p50_seconds": statistics.median(calls),
        "put_late_max_seconds": max(late),
    }


def look_until_seen(url: str, watch: Watch, is_over: threading.Event, poll_seconds: float) -> None:
    """Ask for the events under way until all are seen, or none has been for a minute after the last put."""
    last_seen = time.monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            asked = time.monotonic()
            over, ids = is_over.is_set(), watch.under_way()
            if over and (not ids or asked - last_seen > GIVE_UP_SECONDS):
                return
            if ids:
                found = [row[0] for row in connection.execute(SEEN, (ids,), prepare=True).fetchall()]
                watch.seen(found, time.monotonic())
                last_seen = asked if found or not over else last_seen
            time.sleep(max(0.0, asked + poll_seconds - time.monotonic()))


def run(settings: Settings, given: argparse.Namespace, *, seconds: float, sample: int) -> dict[str, Any]:
    """Put and watch for some time.

    Returns:
        the figures; latencies in seconds.
    """
    url = settings.postgres_url.get_secret_value()
    client = kinesis_client(
        region=settings.aws_region,
        endpoint=settings.kinesis_endpoint,
        local=settings.kinesis_endpoint is not None and settings.environment == "dev",
    )
    watch, is_over = Watch(), threading.Event()
    with psycopg.connect(url, autocommit=True) as connection:
        began = connection.execute("SELECT clock_timestamp()").fetchone()
    looking = threading.Thread(target=look_until_seen, args=(url, watch, is_over, given.poll / 1000))
    looking.start()
    try:
        figures: dict[str, Any] = put_evenly(
            client,
            watch,
            rate=given.rate,
            seconds=seconds,
            every_seconds=given.put_every / 1000,
            sample=sample,
        )
    finally:
        is_over.set()
        looking.join()
    latencies = sorted(watch.seconds.values())
    figures |= {"watched": len(latencies), "not_seen": len(watch.under_way())}
    if len(latencies) > 1:
        cuts = statistics.quantiles(latencies, n=100, method="inclusive")
        figures |= {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": latencies[-1]}
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(HOPS, (began[0] if began else None, STREAM)).fetchall()
    figures["hops"] = {hop: {"sampled": n, "p50": p50, "p99": p99} for hop, n, p50, p99 in rows}
    return figures


def wait_for_first(settings: Settings, given: argparse.Namespace) -> None:
    """Put single events until one has come through, so that no start of a worker is measured."""
    until = time.monotonic() + FIRST_EVENT_SECONDS
    while time.monotonic() < until:
        if not run(settings, given, seconds=1 / given.rate, sample=1)["not_seen"]:
            return
    raise SystemExit(f"no event came through in {FIRST_EVENT_SECONDS:.0f} s; does `pipeline up` run?")


@contextmanager
def own_pipeline() -> Iterator[Settings]:
    """Run `pipeline up --no-produce` in a home that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="latency-") as home:
        os.environ["PIPELINE_HOME"] = home
        command = [sys.executable, "-m", "pipeline.cli", "up", "--no-produce"]
        log = (Path(home) / "up.log").open("wb")
        with log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
            try:
                while b"sink: running" not in Path(log.name).read_bytes():
                    if process.poll() is not None:
                        raise SystemExit(Path(log.name).read_text())
                    time.sleep(0.5)
                yield load_settings()
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()


def machine() -> dict[str, Any]:
    """Say what was measured on; others' work shows in the load."""
    load, _, _ = os.getloadavg()
    return {"cores": os.cpu_count(), "system": platform.platform(), "load_1m": load}


def show(figures: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"{figures['machine']['cores']} cores, load {figures['machine']['load_1m']:.1f} at the end")
    call_ms, late = figures["put_call_p50_seconds"] * 1000, figures["put_late_max_seconds"]
    print(f"{figures['events']} events at {figures['rate']:.0f}/s; PutRecords takes {call_ms:.0f} ms,")
    print(f"and began at most {late:.2f} s late")
    if "p50" in figures:
        print("put to visible: " + ", ".join(f"{k} {figures[k]:.2f} s" for k in ("p50", "p95", "p99", "max")))
    for hop, ages in figures["hops"].items():
        print(
            f"  arrival to {hop:8} p50 {ages['p50']:6.2f} s   p99 {ages['p99']:6.2f} s   ({ages['sampled']})"
        )
    if figures["not_seen"]:
        print(f"{figures['not_seen']} of the events watched were never seen")


def measure(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """Wait for the pipeline, warm it up, measure."""
    wait_for_first(settings, given)
    if given.warm_up:
        run(settings, given, seconds=given.warm_up, sample=given.sample)
    return run(settings, given, seconds=given.seconds, sample=given.sample) | {"machine": machine()}


def main() -> None:
    """Measure, print and write the figures; the exit code is 1 if an event was never seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=float, default=500, help="events a second")
    parser.add_argument("--seconds", type=float, default=60, help="how long to put")
    parser.add_argument("--warm-up", type=float, default=10, help="seconds before, which do not count")
    parser.add_argument("--sample", type=int, default=5, help="watch every n-th event; 1: all")
    parser.add_argument("--poll", type=float, default=20, help="milliseconds between two looks")
    parser.add_argument("--put-every", type=float, default=40, help="milliseconds between two PutRecords")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--start", action="store_true", help="run a pipeline for it")
    given = parser.parse_args()
    if given.start:
        with own_pipeline() as settings:
            figures = measure(settings, given)
    else:
        figures = measure(load_settings(), given)
    show(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(1 if figures["not_seen"] else 0)


if __name__ == "__main__":
    main()
