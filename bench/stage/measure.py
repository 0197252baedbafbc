"""One run of one system: start it, watch it drain the input, judge what came out."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from bench.stage.ours import STAGE
from bench.stage.systems import Job, System
from bench.stage.watch import (
    EVERY_SECONDS,
    SETTLE_SECONDS,
    Sample,
    Trace,
    Usage,
    committed_offsets,
    ends,
)
from bench.stage.workload import PARTITIONS, Outcome, WrongResultError, check, read_outcome
from streams.engine.changelog import changelog_topic
from streams.topics import Topic, declare_topics, delete_topics, partition_counts

ROOT: Final = Path(__file__).parents[2]
STANDSTILL_SECONDS: Final = 60.0
START_SECONDS: Final = 90.0
NOT_YET: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


class RunError(Exception):
    """A run came to nothing; the message says why and where its log is."""


@dataclass(frozen=True)
class Input:
    """A filled topic: the first `warm_up` of its `count` events are not measured."""

    topic: str
    count: int
    warm_up: int
    expected: Outcome


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    bootstrap: str
    broker_pid: int
    folder: Path


def run(bench: Bench, system: System, given: Input, name: str) -> dict[str, Any]:
    """Run a system once.

    Returns:
        figures, by name.

    Raises:
        RunError: it ended, or stood still.
        WrongResultError: what came out is wrong.
    """
    job = Job(bench.bootstrap, given.topic, f"{name}-output", name, bench.folder / name)
    admin = AdminClient({"bootstrap.servers": bench.bootstrap})
    topics = [Topic(job.output), Topic(changelog_topic(job.group, STAGE), compacted=True)]
    declare_topics(admin, topics, partitions=PARTITIONS, replication=1)

    _await_leader(admin, job.output)

    def done() -> int:
        if system.outputs:
            return ends(admin, job.output)
        return committed_offsets(admin, job.group, job.input)

    try:
        with _started(system.commands(job), job.folder) as pids:
            trace = _watched(done, Usage(pids), Usage([bench.broker_pid]), given.count, job.folder)
            if system.commits:
                _check_committed(committed_offsets(admin, job.group, job.input), given.count)
        if system.sessions:
            check(read_outcome(bench.bootstrap, job.output), given.expected)
    except WrongResultError as error:
        raise WrongResultError(f"{system.title}: {error}") from error
    finally:
        delete_topics(admin, [one for one in partition_counts(admin) if one.startswith(name)])
        shutil.rmtree(job.folder, ignore_errors=True)
    return figures(trace, given, processes=len(pids))


def figures(trace: Trace, given: Input, processes: int) -> dict[str, Any]:
    """Give what a run amounts to; the warm-up is left out of all but the start."""
    warm = trace.when(given.warm_up)
    seconds = trace.last_output() - warm.at
    events = given.count - given.warm_up
    cpu = trace.cpu_at_end - warm.cpu
    return {
        "events": events,
        "processes": processes,
        "startup_seconds": trace.first_output() - trace.began,
        "seconds": seconds,
        "events_per_second": events / seconds,
        "cpu_seconds": cpu,
        "cpu_us_per_event": cpu / events * 1e6,
        "events_per_cpu_second": events / cpu,
        "cores_busy": cpu / seconds,
        "broker_cpu_us_per_event": (trace.samples[-1].broker_cpu - warm.broker_cpu) / events * 1e6,
        "peak_mb": trace.peak_mb,
        "expected": asdict(given.expected),
    }


def _check_committed(committed: int, count: int) -> None:
    if committed != count:
        raise WrongResultError(f"{committed} of {count} events are committed")


def _await_leader(admin: AdminClient, topic: str) -> None:
    """Wait until a new topic's partitions are led: a moment after they were made."""
    while True:
        try:
            ends(admin, topic)
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET:
                raise
            time.sleep(EVERY_SECONDS)
        else:
            return


@contextlib.contextmanager
def _started(commands: Sequence[Sequence[str]], folder: Path) -> Iterator[list[int]]:
    folder.mkdir(parents=True)
    processes = []
    try:
        with (folder.parent / f"{folder.name}.log").open("wb") as log:
            for number, command in enumerate(commands):
                (folder / str(number)).mkdir()
                processes.append(
                    subprocess.Popen(
                        command,
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, "PYTHONPATH": str(ROOT)},
                    )
                )
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _watched(done: Callable[[], int], usage: Usage, broker: Usage, count: int, folder: Path) -> Trace:
    trace = Trace(began=time.monotonic())
    moved_at, moved_to = trace.began, 0
    while True:
        time.sleep(EVERY_SECONDS)
        cpu, largest = usage.look()
        sample = Sample(time.monotonic(), done(), cpu, broker.look()[0])
        trace.samples.append(sample)
        trace.peak_mb = max(trace.peak_mb, largest)
        if sample.done != moved_to:
            moved_at, moved_to = sample.at, sample.done
        still = sample.at - moved_at
        if moved_to >= count and still > SETTLE_SECONDS:
            break
        if not usage.alive():
            raise RunError(f"it ended after {moved_to} of {count} events: see {folder}.log")
        if still > (STANDSTILL_SECONDS if moved_to else START_SECONDS):
            raise RunError(f"it stands still after {moved_to} of {count} events: see {folder}.log")
    trace.cpu_at_end = usage.look()[0]
    return trace
