"""What benchmarks of the whole pipeline share: raw topics filled behind Kinesis, workers that drain them.

A drain begins with the workers' start; its rate counts from the first batch that is done to the last one that
is applied to Postgres.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import Producer

from bench.raw import raw_message
from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.local.programs import worker
from pipeline.prepare import start_pipeline
from pipeline.settings import Settings, load_settings
from pipeline.status import PROCESSED, SUNK
from producer.records import Record
from streams.ingest.messages import Message
from streams.lag import topic_lags
from streams.topics import PROCESS_GROUP, SINK_GROUP

POLL_SECONDS: Final = 0.5
MOST_UNDER_WAY: Final = 50_000
WORKERS: Final = ("process", "sink")


@contextmanager
def stopped_platform(folder: Path, workers: Sequence[str] = WORKERS) -> Iterator[LocalPlatform]:
    """Give a platform of its own, with all topics and tables, whose workers do not run yet.

    Args:
        folder: for all it keeps.
        workers: names of programs, as of `drain`.
    """
    settings = load_settings(
        home=folder / "home", kafka_port=free_port(), postgres_port=free_port(), kinesis_port=free_port()
    )
    programs = [worker(name, name.partition("-")[0]) for name in workers]
    with LocalPlatform(settings, programs) as platform:
        start_pipeline(platform)
        for name in workers:
            platform.stop_worker(name)
        yield platform


def raw_messages(records: Iterable[Record], first: int = 0) -> Iterator[Message]:
    """Give records as ingest workers would write them to the raw topics, arrived now.

    Args:
        records: of the producer.
        first: of their sequence numbers; runs on the same topics must not overlap.
    """
    arrived_at_ms = round(time.time() * 1000)
    for number, record in enumerate(records, start=first + 1):
        yield raw_message(record, number, arrived_at_ms)


def write(settings: Settings, records: Iterable[Record], first: int = 0) -> int:
    """Write records to the raw topics, and give their number; arguments as of `raw_messages`."""
    producer = Producer(settings.kafka.librdkafka_producer())
    count = 0
    for message in raw_messages(records, first):
        count += 1
        producer.produce(message.topic, message.value, message.key, headers=message.headers)
        while len(producer) > MOST_UNDER_WAY:
            producer.poll(0.1)
    producer.flush()
    return count


def waiting(settings: Settings) -> dict[str, int]:
    """Give how many records wait before the stages, and before the sinks."""
    stages = topic_lags(settings.kafka, PROCESS_GROUP, PROCESSED)
    sinks = topic_lags(settings.kafka, SINK_GROUP, SUNK)
    return {"process": sum(hop.lag for hop in stages), "sink": sum(hop.lag for hop in sinks)}


@dataclass
class Drain:
    """How long workers took to be through, and what that cost."""

    records: int
    starting_seconds: float = 0.0
    """From the workers' start to the first batch that was done."""
    stages_seconds: float = 0.0
    """From there until the stages were through."""
    all_seconds: float = 0.0
    """From there until the sinks were through, too."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """By kind of program, from the workers' start on."""
    peak_mb: dict[str, int] = field(default_factory=dict)
    """Resident memory by kind of worker: of the one that held most."""

    @property
    def records_a_second(self) -> float:
        """The rate, with half a look's time for what was not seen."""
        return self.records / (self.all_seconds + POLL_SECONDS / 2)

    @property
    def stages_records_a_second(self) -> float:
        """The rate of the stages."""
        return self.records / (self.stages_seconds + POLL_SECONDS / 2)

    @property
    def cpu_microseconds_a_record(self) -> dict[str, float]:
        """Processor time by kind of program."""
        return {kind: round(seconds / self.records * 1e6, 1) for kind, seconds in self.cpu_seconds.items()}


def drain(platform: LocalPlatform, records: int, workers: Sequence[str] = WORKERS) -> Drain:
    """Start workers, which do not run, on what waits, and wait until all is through.

    Args:
        platform: with the records on its raw topics.
        records: how many they are.
        workers: names of programs; those of a kind begin with `process` or `sink`.
    """
    settings, done = platform.settings, Drain(records)
    before = cpu_by_program(platform)
    at_first = waiting(settings)["process"]
    began = time.monotonic()
    platform.start_workers(workers)
    through: dict[str, float] = {}
    while len(through) < len(WORKERS):
        time.sleep(POLL_SECONDS)
        for kind, megabytes in memory_mb(platform, workers).items():
            done.peak_mb[kind] = max(done.peak_mb.get(kind, 0), megabytes)
        left = waiting(settings)
        now = time.monotonic() - began
        if not done.starting_seconds and left["process"] != at_first:
            done.starting_seconds = now
        for kind in WORKERS:
            if left[kind] == 0 and (kind == "process" or "process" in through):
                through.setdefault(kind, now)
            elif left[kind]:
                through.pop(kind, None)
    done.stages_seconds = through["process"] - done.starting_seconds
    done.all_seconds = through["sink"] - done.starting_seconds
    after = cpu_by_program(platform)
    done.cpu_seconds = {kind: seconds - before.get(kind, 0.0) for kind, seconds in after.items()}
    return done


def cpu_by_program(platform: LocalPlatform) -> dict[str, float]:
    """Give the processor seconds of what runs now, by kind: the part of a program's name before a hyphen."""
    found: dict[str, float] = {}
    for name, state in platform.states().items():
        if state.is_running:
            kind = name.partition("-")[0]
            found[kind] = found.get(kind, 0.0) + _cpu_of_tree(state.pid)
    return found


def _cpu_of_tree(pid: int) -> float:
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            times = process.cpu_times()
            # With those of children that have ended, such as a server's connections.
            total += times.user + times.system + times.children_user + times.children_system
    except psutil.NoSuchProcess:
        pass
    return total


def memory_mb(platform: LocalPlatform, names: Iterable[str]) -> dict[str, int]:
    """Give the resident memory of workers by kind: of the one that holds most."""
    found: dict[str, int] = {}
    states = platform.states()
    for name in names:
        try:
            size = (
                psutil.Process(states[name].pid).memory_info().rss // 2**20 if states[name].is_running else 0
            )
        except psutil.NoSuchProcess:
            size = 0
        kind = name.partition("-")[0]
        found[kind] = max(found.get(kind, 0), size)
    return found
