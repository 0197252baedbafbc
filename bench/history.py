"""History written to the raw topics of a pipeline that has long been idle, against events of the day.

    .venv/bin/python -m bench.history --events 1000000

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
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.drains import WORKERS, Drain, drain, write
from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.local.programs import worker
from pipeline.prepare import start_pipeline
from pipeline.settings import load_settings
from producer.records import Record
from producer.run import ProduceConfig, make_records


def run(platform: LocalPlatform, records: Iterator[Record], first: int) -> Drain:
    """Write records while the workers are stopped, start them, and time how long they take."""
    for name in WORKERS:
        platform.stop_worker(name)
    return drain(platform, write(platform.settings, records, first))


def figures(name: str, done: Drain, day: Drain) -> dict[str, Any]:
    """Give what is printed of a drain."""
    return {
        "name": name,
        "records": done.records,
        "starting_seconds": round(done.starting_seconds, 1),
        "stages_seconds": round(done.stages_seconds, 1),
        "all_seconds": round(done.all_seconds, 1),
        "records_a_second": round(done.records_a_second),
        "stages_records_a_second_to_day": round(
            done.stages_records_a_second / day.stages_records_a_second, 2
        ),
        "records_a_second_to_day": round(done.records_a_second / day.records_a_second, 2),
        "cpu_microseconds_a_record": done.cpu_microseconds_a_record,
        "peak_mb": done.peak_mb,
    }


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
            found = {
                "day": run(platform, shop(1, third, 1, end), 0),
                "history": run(
                    platform,
                    shop(1, arguments.events, arguments.days, end - timedelta(days=1)),
                    10**9,
                ),
                "again": run(
                    platform,
                    shop(1, third, arguments.days, end - timedelta(days=1, hours=1)),
                    2 * 10**9,
                ),
            }
    print(json.dumps([figures(name, done, found["day"]) for name, done in found.items()], indent=1))


if __name__ == "__main__":
    main()
