"""The real pipeline, from raw topics to all tables in Postgres, against what Kafka and Postgres alone can do.

    .venv/bin/python -m bench.throughput --events 1000000 --rounds 3

Each round, in a home that is thrown away: the synthetic shop's events of all four streams are written to the
raw topics; `process` and `sink` workers, one of each, drain them into bronze and all silver tables. Then the
limit: the rows that came of it are read out, the tables emptied, and a loader reads the same raw topics with
confluent-kafka to their ends and meanwhile COPYs the same rows, ready-made, into the same indexed tables. It
computes nothing, so what it takes is what Kafka's delivery and Postgres' tables take.

The figure to look at is the ratio of the two.
"""

import argparse
import json
import platform as machine
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from psycopg import sql

from bench.drains import WORKERS, Drain, cpu_by_program, drain, stopped_platform, write
from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from pipeline.status import RAW
from producer.run import ProduceConfig, make_records
from sinks.schema import metadata

LOADERS: Final = 4
"""Connections that COPY side by side: more did not make it faster on two cores."""
CHUNK_BYTES: Final = 4_000_000


@dataclass(frozen=True)
class Limit:
    """What reading and loading alone took."""

    records: int
    rows: int
    seconds: float
    cpu_seconds: dict[str, float]

    @property
    def records_a_second(self) -> float:
        """Raw records by the time in which all rows were loaded and all records read."""
        return self.records / self.seconds


def loaded_tables() -> list[str]:
    """Give the tables that the limit loads: bronze and silver, but not the books of what was done when."""
    return [table.fullname for table in metadata.sorted_tables if table.schema in ("bronze", "silver")]


def read_out(url: str, folder: Path) -> list[tuple[str, Path, int]]:
    """Write the rows of all tables as COPY's binary format has them, in files of some thousand rows.

    Returns:
        table, file and number of rows, of every file.
    """
    found = []
    with psycopg.connect(url) as connection:
        # So that rows come in the same order each time, and a table's files have each row once.
        connection.execute("SET synchronize_seqscans = off")
        connection.execute("SET max_parallel_workers_per_gather = 0")
        for table in loaded_tables():
            size, rows = connection.execute(
                sql.SQL("SELECT coalesce(sum(pg_column_size(t)), 0)::bigint, count(*) FROM {} AS t").format(
                    _name(table)
                )
            ).fetchone() or (0, 0)
            files = max(1, -(-size // CHUNK_BYTES))
            for number in range(files if rows else 0):
                path = folder / f"{table}.{number}"
                few = rows * (number + 1) // files - rows * number // files
                query = sql.SQL(
                    "COPY (SELECT * FROM {} LIMIT {} OFFSET {}) TO STDOUT (FORMAT binary)"
                ).format(_name(table), sql.Literal(few), sql.Literal(rows * number // files))
                with path.open("wb") as file, connection.cursor().copy(query) as copy:
                    for data in copy:
                        file.write(data)
                found.append((table, path, few))
    return found


def load(url: str, files: Sequence[tuple[str, Path, int]]) -> int:
    """COPY files into their tables, each in a transaction of its own; give the number of rows."""
    count = 0
    with psycopg.connect(url) as connection:
        for table, path, rows in files:
            into = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(_name(table))
            with connection.cursor().copy(into) as copy:
                copy.write(path.read_bytes())
            connection.commit()
            count += rows
    return count


def _name(table: str) -> sql.Composable:
    return sql.Identifier(*table.split("."))


def read_topics(settings: Settings) -> int:
    """Read the raw topics from their beginnings to their ends; give the number of records."""
    consumer = Consumer(
        {
            **settings.kafka.librdkafka(),
            "group.id": "unused: nothing is committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = [
        TopicPartition(topic, n, OFFSET_BEGINNING) for topic in RAW for n in range(settings.partitions)
    ]
    consumer.assign(partitions)
    count, ended = 0, 0
    while ended < len(partitions):
        for message in consumer.consume(10_000, timeout=1.0):
            error = message.error()
            if error is None:
                count += 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                ended += 1
    consumer.close()
    return count


def limit(platform: LocalPlatform, records: int, folder: Path) -> Limit:
    """Take what the pipeline has stored out, and load it again while the raw topics are read."""
    url = platform.postgres_url
    files = read_out(url, folder)
    with psycopg.connect(url) as connection:
        for table in loaded_tables():
            connection.execute(sql.SQL("TRUNCATE {}").format(_name(table)))
    # Largest first and dealt out in turn, so that all connections end at about the same time.
    files.sort(key=lambda one: one[1].stat().st_size, reverse=True)
    before, own = cpu_by_program(platform), sum(psutil.Process().cpu_times()[:2])
    began = time.monotonic()
    with ThreadPoolExecutor(LOADERS + 1) as threads:
        reading = threads.submit(read_topics, platform.settings)
        loading = [threads.submit(load, url, files[n::LOADERS]) for n in range(LOADERS)]
        rows = sum(one.result() for one in loading)
        if reading.result() != records:
            raise SystemExit(f"{reading.result()} of {records} records were read")
    seconds = time.monotonic() - began
    cpu = {kind: used - before.get(kind, 0.0) for kind, used in cpu_by_program(platform).items()}
    cpu["loader"] = sum(psutil.Process().cpu_times()[:2]) - own
    return Limit(records, rows, seconds, cpu)


def one_round(events: int, seed: int) -> tuple[Drain, Limit]:
    """Run the pipeline and the limit once."""
    with (
        tempfile.TemporaryDirectory(prefix="pipeline-bench-") as name,
        stopped_platform(Path(name)) as platform,
    ):
        config = ProduceConfig(
            seed=seed, end=datetime.now(UTC), count=events, days=1, customers=events // 200
        )
        records = write(platform.settings, make_records(config))
        done = drain(platform, records)
        for one in WORKERS:
            platform.stop_worker(one)
        return done, limit(platform, records, Path(name))


def figures(rounds: Sequence[tuple[Drain, Limit]]) -> Iterator[dict[str, Any]]:
    """Give what is written down of each round."""
    for done, most in rounds:
        yield {
            "records": done.records,
            "records_a_second": round(done.records_a_second),
            "stages_records_a_second": round(done.stages_records_a_second),
            "starting_seconds": round(done.starting_seconds, 1),
            "cpu_microseconds_a_record": done.cpu_microseconds_a_record,
            "peak_mb": done.peak_mb,
            "limit_records_a_second": round(most.records_a_second),
            "limit_rows": most.rows,
            "limit_cpu_microseconds_a_record": {
                kind: round(used / most.records * 1e6, 1) for kind, used in most.cpu_seconds.items()
            },
            "of_limit": round(done.records_a_second / most.records_a_second, 3),
        }


def main() -> None:
    """Run the rounds, and write down what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--json", type=Path, default=Path("bench/results/throughput.json"), help="where to write to"
    )
    given = parser.parse_args()
    rounds = []
    for number in range(1, given.rounds + 1):
        rounds.append(one_round(given.events, number))
        print(json.dumps(next(figures(rounds[-1:]))), flush=True)
    found = list(figures(rounds))
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": psutil.cpu_count(),
            "python": machine.python_version(),
            "system": machine.platform(),
        },
        "median": {
            name: median(one[name] for one in found)
            for name in ("records_a_second", "limit_records_a_second", "of_limit")
        },
        "rounds": found,
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["median"]))


if __name__ == "__main__":
    main()
