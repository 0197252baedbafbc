"""Watching a run from outside: how far it is, what it uses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from bench.stage.workload import PARTITIONS

EVERY_SECONDS: Final = 0.05
SETTLE_SECONDS: Final = 2.0
"""After the last output, until everything that commits once a second has done so. Work until then counts."""


@dataclass(frozen=True)
class Sample:
    """What was seen at an instant: seconds of a clock, events done, processor seconds, of the broker too."""

    at: float
    done: int
    cpu: float
    broker_cpu: float


@dataclass
class Trace:
    """A run as it was seen; `peak_mb` is of the largest process."""

    began: float
    samples: list[Sample] = field(default_factory=list)
    peak_mb: float = 0.0
    cpu_at_end: float = 0.0

    def first_output(self) -> float:
        """Give the instant at which something was first done."""
        return next(sample.at for sample in self.samples if sample.done)

    def last_output(self) -> float:
        """Give the instant at which the last was done."""
        most = self.samples[-1].done
        return next(sample.at for sample in self.samples if sample.done == most)

    def when(self, done: int) -> Sample:
        """Give what it was when so many events were done, between two samples if need be."""
        before = self.samples[0]
        for after in self.samples:
            if after.done >= done:
                break
            before = after
        part = (done - before.done) / max(after.done - before.done, 1)

        def between(low: float, high: float) -> float:
            return low + part * (high - low)

        return Sample(
            between(before.at, after.at),
            done,
            between(before.cpu, after.cpu),
            between(before.broker_cpu, after.broker_cpu),
        )


def ends(admin: AdminClient, topic: str) -> int:
    """Give the number of records of a topic, transaction markers included.

    The last thing that a transaction adds is its marker, so when nothing is added any more all is committed.
    """
    request = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(PARTITIONS)}
    return sum(future.result().offset for future in admin.list_offsets(request).values())


def committed_offsets(admin: AdminClient, group: str, topic: str) -> int:
    """Give how many records of a topic a group has committed."""
    request = [
        ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for number in range(PARTITIONS)])
    ]
    (future,) = admin.list_consumer_group_offsets(request).values()
    return sum(max(partition.offset, 0) for partition in future.result().topic_partitions)


class Usage:
    """Processor time and memory of processes and their children."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._seen: dict[int, float] = {}

    def look(self) -> tuple[float, float]:
        """Give processor seconds of all so far, ended ones too, and MB of the largest."""
        largest = 0
        for root in self._roots:
            try:
                for process in (root, *root.children(recursive=True)):
                    with process.oneshot():
                        times = process.cpu_times()
                        self._seen[process.pid] = times.user + times.system
                        largest = max(largest, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return sum(self._seen.values()), largest / 2**20

    def alive(self) -> bool:
        """Whether none has ended."""
        return all(root.is_running() and root.status() != psutil.STATUS_ZOMBIE for root in self._roots)
