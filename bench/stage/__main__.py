"""The engine against its peers on the same topic, in one run.

    .venv/bin/python -m bench.stage --json bench/results/stage.json

Kafka runs in a home that is thrown away. Every round runs every system once, one after the other, each on the
same input from its start; a round begins with another system each time. What came out of each run is compared
with what must. See bench/README.md.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient

from bench.stage.broker import running_broker
from bench.stage.measure import Bench, Input, RunError, run
from bench.stage.systems import HEAP_MB, find_systems, versions
from bench.stage.workload import CUSTOMERS, PARTITIONS, WrongResultError, expected_outcome, fill
from pipeline.errors import LocalError
from streams.topics import Topic, declare_topics

ROOT: Final = Path(__file__).parents[2]


def fill_input(bootstrap: str, topic: str, count: int, warm_up: int, customers: int) -> tuple[Input, float]:
    """Make a topic of events; gives it and the mean length of an event in bytes."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    declare_topics(admin, [Topic(topic)], partitions=PARTITIONS, replication=1)
    length = fill(bootstrap, topic, warm_up + count, customers)
    return Input(topic, warm_up + count, warm_up, expected_outcome(warm_up + count, customers)), length


def measure(
    given: argparse.Namespace, folder: Path, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run all rounds.

    Args:
        given: the options.
        folder: for the broker and what the systems leave.
        keep: given all figures after each run, so that a long measurement that is broken off is not lost.

    Raises:
        RunError: a system came to nothing.
        WrongResultError: a system gave something wrong.
    """
    systems = find_systems(given.peers, folder / "classes", given.heap_mb)
    chosen = [system for system in systems if not given.systems or system.name in given.systems.split(",")]
    with running_broker(folder / "home") as (bootstrap, broker_pid):
        bench = Bench(bootstrap, broker_pid, given.logs)
        say("filling the topics")
        lengths, inputs = [], {}
        for share in {system.share for system in chosen}:
            count = int(given.events * share)
            inputs[share], length = fill_input(
                bootstrap, f"events-{count}", count, count // 5, given.customers
            )
            lengths.append(length)
        figures: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                "cores": os.cpu_count(),
                "system": platform.platform(),
                "load_1m": os.getloadavg()[0],
            },
            "versions": versions(given.peers),
            "workload": {
                "events": given.events,
                "customers": given.customers,
                "partitions": PARTITIONS,
                "bytes_per_event": round(max(lengths)),
            },
            "titles": {system.name: system.title for system in chosen},
            "runs": [],
        }
        for number in range(given.rounds):
            turn = number % len(chosen)
            for system in chosen[turn:] + chosen[:turn]:
                found = run(bench, system, inputs[system.share], f"{system.name}-{number}-{os.getpid()}")
                figures["runs"].append({"round": number, "system": system.name, **found})
                say(shown(figures["runs"][-1]))
                keep(figures)
    return figures


def shown(one: dict[str, Any]) -> str:
    """Give one line about a run."""
    return (
        f"{one['round']} {one['system']:12} {one['events_per_second']:>9,.0f} events/s "
        f"{one['cpu_us_per_event']:>7.2f} µs of CPU an event "
        f"({one['broker_cpu_us_per_event']:.2f} the broker's) "
        f"{one['peak_mb']:>5.0f} MB, started in {one['startup_seconds']:.1f} s"
    )


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, or add rounds to what was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.stage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--events",
        type=int,
        default=2_000_000,
        help="measured; a fifth more goes before; slow ones get fewer",
    )
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="the number of keys")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", default="", help="names, by commas; all if none are given")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-bench" / "bin" / "python")
    parser.add_argument("--heap-mb", type=int, default=HEAP_MB, help="of Kafka Streams")
    parser.add_argument("--json", type=Path, required=True, help="where figures are written")
    parser.add_argument("--add", action="store_true", help="add to the rounds that are in the file of --json")
    given = parser.parse_args()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    # So that the broker and what is measured end with it.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    before = json.loads(given.json.read_text())["runs"] if given.add else []

    def keep(figures: dict[str, Any]) -> None:
        rounds = 1 + max((one["round"] for one in before), default=-1)
        later = [{**one, "round": one["round"] + rounds} for one in figures["runs"]]
        given.json.write_text(json.dumps({**figures, "runs": before + later}, indent=1) + "\n")

    with tempfile.TemporaryDirectory(prefix="stage-") as folder:
        given.logs = Path(folder) / "logs"
        given.logs.mkdir()
        try:
            measure(given, Path(folder), keep)
        except (RunError, WrongResultError, LocalError) as error:
            for log in sorted(given.logs.glob("*.log")):
                if log.stat().st_size:
                    say(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
            sys.exit(f"bench.stage: {error}")
    say(f"written: {given.json}; for the tables and the chart: python -m bench.stage.report {given.json}")


if __name__ == "__main__":
    main()
