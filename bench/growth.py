"""The whole pipeline as it grows: more events, more customers, more workers.

    .venv/bin/python -m bench.growth --events 100000,300000,1000000
    .venv/bin/python -m bench.growth --events 400000 --customers 1000,4000,16000
    .venv/bin/python -m bench.growth --events 400000 --workers 1,2,4

Each point has a home of its own, thrown away after: the synthetic shop's events of one day are written to the
raw topics, then workers drain them into bronze and all silver tables.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.drains import WORKERS, drain, stopped_platform, write
from producer.run import ProduceConfig, make_records

EVENTS_A_CUSTOMER = 200
"""Where the number of customers is not given."""


def measure(events: int, customers: int, workers: int) -> dict[str, Any]:
    """Drain so many events of so many customers by so many workers of each kind."""
    names = [kind if n == 1 else f"{kind}-{n}" for kind in WORKERS for n in range(1, workers + 1)]
    config = ProduceConfig(seed=events, end=datetime.now(UTC), count=events, days=1, customers=customers)
    with (
        tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder,
        stopped_platform(Path(folder), names) as platform,
    ):
        done = drain(platform, write(platform.settings, make_records(config)), names)
    return {
        "events": events,
        "customers": customers,
        "workers_of_each_kind": workers,
        "records_a_second": round(done.records_a_second),
        "stages_records_a_second": round(done.stages_records_a_second),
        "starting_seconds": round(done.starting_seconds, 1),
        "cpu_microseconds_a_record": done.cpu_microseconds_a_record,
        "peak_mb": done.peak_mb,
    }


def numbers(text: str) -> Sequence[int]:
    """Read numbers that are separated by commas."""
    return [int(number) for number in text.split(",")]


def main() -> None:
    """Measure every combination of what is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=numbers, default=numbers("100000,300000,1000000"))
    parser.add_argument("--customers", type=numbers, help=f"by default one for {EVENTS_A_CUSTOMER} events")
    parser.add_argument("--workers", type=numbers, default=numbers("1"), help="of each kind")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("bench/results/growth.json"))
    given = parser.parse_args()
    found = []
    points = itertools.product(range(given.rounds), given.events, given.customers or [0], given.workers)
    for _, events, customers, workers in points:
        found.append(measure(events, customers or max(1, events // EVENTS_A_CUSTOMER), workers))
        print(json.dumps(found[-1]), flush=True)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
