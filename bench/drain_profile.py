"""Where the microseconds of a record go, in the whole pipeline: programs, threads, modules, statements.

    .venv/bin/python -m pip install py-spy
    .venv/bin/python -m bench.drain_profile --events 600000

The synthetic shop's events are drained as in `bench.throughput`. In the middle of the drain, for some
seconds, py-spy samples both workers, and the database is asked what each connection is at. CPU is the
system's own count; samples only divide it. Sampling takes a share of the cores, so look at the shares.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from bench.drains import WORKERS, cpu_by_program, stopped_platform, waiting, write
from producer.run import ProduceConfig, make_records

SAMPLES_A_SECOND: Final = 100
STARTING_SECONDS: Final = 12.0
PY_SPY: Final = Path(sys.executable).with_name("py-spy")
LABELS: Final = (
    ("processors/clean/", "cleaning"),
    ("processors/sessions/", "sessions"),
    ("processors/batches.py", "decoding clean events"),
    ("processors/", "customers, products, identities"),
    ("streams/engine/output.py", "handing records to librdkafka"),
    ("streams/engine/table.py", "state"),
    ("streams/engine/recent.py", "state"),
    ("streams/transport.py", "headers"),
    ("aiokafka/", "fetching"),
    ("sinks/mapping/", "rows of records"),
    ("sinks/binary.py", "COPY"),
    ("psycopg/", "COPY"),
    ("psycopg_binary/", "COPY"),
    ("sinks/", "writers"),
    ("streams/engine/", "engine"),
    ("faust/", "Faust"),
    ("mode/", "Faust"),
    ("asyncio/", "event loop"),
)
"""Part of a file's path in the innermost frame that has one, and what it is counted as."""


def label_of(stack: str) -> str:
    """Give what a stack, outermost frame first, is counted as."""
    for frame in reversed(stack.split(";")):
        for part, label in LABELS:
            if part in frame:
                return label
    return "else"


def read_samples(path: Path) -> Counter[str]:
    """Count py-spy's samples by label."""
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        found[label_of(stack)] += int(count)
    return found


def thread_seconds(pid: int) -> dict[str, float]:
    """Give the processor seconds of a process by kind of thread: librdkafka's, RocksDB's, and Python's."""
    found: dict[str, float] = {}
    for thread in psutil.Process(pid).threads():
        try:
            name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text().strip()
        except FileNotFoundError:
            continue
        kind = "librdkafka" if name.startswith("rdk:") else "RocksDB" if "rocksdb" in name else "Python"
        found[kind] = found.get(kind, 0.0) + thread.user_time + thread.system_time
    return found


def watch_statements(url: str, is_over: threading.Event, found: Counter[str]) -> None:
    """Count what connections are at that run on a processor: a statement's beginning."""
    with psycopg.connect(url, autocommit=True) as connection:
        while not is_over.wait(1 / SAMPLES_A_SECOND):
            rows = connection.execute(
                """
                SELECT left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 70) FROM pg_stat_activity
                WHERE state = 'active' AND wait_event IS NULL AND pid <> pg_backend_pid()
                """
            ).fetchall()
            found.update(str(query).strip() for (query,) in rows)


def shares(samples: Mapping[str, float], whole: float) -> dict[str, float]:
    """Divide a whole by samples, the largest part first; what is small is left out."""
    total = sum(samples.values()) or 1
    parts = {label: round(whole * count / total, 2) for label, count in samples.items()}
    return {label: part for label, part in sorted(parts.items(), key=lambda one: -one[1]) if part >= 0.1}  # noqa: PLR2004


def less(after: Mapping[str, float], before: Mapping[str, float], records: int) -> dict[str, float]:
    """Give the microseconds a record that were used between two counts of seconds."""
    return {kind: round((after[kind] - before.get(kind, 0)) / records * 1e6, 2) for kind in after}


def measure(events: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Drain, and sample meanwhile."""
    with stopped_platform(folder) as platform:
        config = ProduceConfig(seed=1, end=datetime.now(UTC), count=events, days=1, customers=events // 200)
        write(platform.settings, make_records(config))
        platform.start_workers(WORKERS)
        time.sleep(STARTING_SECONDS)
        pids = {name: platform.states()[name].pid for name in WORKERS}
        statements: Counter[str] = Counter()
        is_over = threading.Event()
        watching = threading.Thread(
            target=watch_statements, args=(platform.postgres_url, is_over, statements)
        )
        left, programs = waiting(platform.settings), cpu_by_program(platform)
        threads = {name: thread_seconds(pid) for name, pid in pids.items()}
        watching.start()
        files = {name: folder / f"{name}.samples" for name in WORKERS}
        spies = [_spy(pids[name], seconds, file) for name, file in files.items()]
        for spy in spies:
            spy.wait()
        programs_after, left_after = cpu_by_program(platform), waiting(platform.settings)
        threads_after = {name: thread_seconds(pid) for name, pid in pids.items()}
        is_over.set()
        watching.join()
    if not left_after["process"]:
        raise SystemExit("all was through before the samples were taken: give more --events")
    records = left["process"] - left_after["process"]
    by_thread = {name: less(threads_after[name], threads[name], records) for name in WORKERS}
    by_program = less(programs_after, programs, records)
    return {
        "records_of_stages": records,
        "seconds": seconds,
        "programs": by_program,
        "threads": by_thread,
        "modules": {name: shares(read_samples(files[name]), by_thread[name]["Python"]) for name in WORKERS},
        "statements": shares(statements, by_program["postgres"]),
    }


def _spy(pid: int, seconds: float, file: Path) -> "subprocess.Popen[bytes]":
    command = [str(PY_SPY), "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--format", "raw"]
    command += ["--rate", str(SAMPLES_A_SECOND), "--output", str(file), "--nonblocking"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lines(found: dict[str, Any]) -> Iterable[str]:
    """Give the tables as text."""
    for name, parts in {
        "programs": found["programs"],
        **{f"{name}: threads": found["threads"][name] for name in WORKERS},
        **{f"{name}: Python's threads": found["modules"][name] for name in WORKERS},
        "postgres: statements": found["statements"],
    }.items():
        yield f"\n{name}, µs a record"
        yield from (f"{micros:8.2f}  {label}" for label, micros in parts.items())


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--seconds", type=float, default=20, help="of sampling")
    parser.add_argument("--json", type=Path, default=Path("bench/results/drain-profile.json"))
    given = parser.parse_args()
    if not PY_SPY.exists():
        raise SystemExit(f"py-spy is missing: {sys.executable} -m pip install py-spy")
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder:
        found = measure(given.events, given.seconds, Path(folder))
    print("\n".join(lines(found)))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
