"""Gathers the batches of a topic into groups that grow with the load by themselves.

What a group costs beside its records (a transaction, an acknowledgement, a commit) is the same for one record
and for thousands. So it is as with small packets (RFC 896, Nagle): when nothing is in work, what waits goes
at once; while something is, more is gathered, until that is done or a full group has come together. And as a
group also costs the brokers and the database something, one that is not full begins no sooner than a moment
after the one before it. Little load is done with little delay, much in few pieces, and nothing has to be set.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final

from streams.engine.batch import Batch

FULL_RECORDS: Final = 4_000
"""A group so large does not wait for others to be done."""
SPACING_SECONDS: Final = 0.1
"""Between the beginnings of groups that are not full."""
MOST_RECORDS: Final = 8_000
"""Of a group; a single fetched batch may be larger."""


class Gathering:
    """The batches of one topic that wait, and the partitions that are in work. Pure."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[Batch]] = {}
        self._in_work: set[int] = set()
        self.due_at = 0.0
        """When the next group that is not full may begin, by the clock that `take` is given."""

    @property
    def waits(self) -> bool:
        """Whether anything waits while nothing is in work."""
        return bool(self._waiting) and not self._in_work

    def add(self, batches: Iterable[Batch]) -> None:
        """Let batches wait, each behind those of its partition."""
        for batch in batches:
            self._waiting.setdefault(batch.partition, []).append(batch)

    def take(self, is_ready: Callable[[int], bool], now: float) -> list[Batch]:
        """Give the next group, which is in work from now on; empty if nothing waits or more may come.

        Args:
            is_ready: whether a partition may be worked on.
            now: of a clock that never goes back, in seconds.

        Returns:
            at most one batch of each partition, and none of a partition that is in work.
        """
        free = [p for p in self._waiting if p not in self._in_work and is_ready(p)]
        count = sum(_count(self._waiting[partition]) for partition in free)
        if count < FULL_RECORDS and (self._in_work or now < self.due_at):
            return []
        group: list[Batch] = []
        room = MOST_RECORDS
        for partition in free:
            batches = self._waiting[partition]
            fitting = _fitting(batches, room, at_least=0 if group else 1)
            if fitting:
                group.append(joined(batches[:fitting]))
                room -= len(group[-1].records)
                del batches[:fitting]
            if not batches:
                del self._waiting[partition]
            if room <= 0:
                break
        if group:
            self._in_work.update(batch.partition for batch in group)
            self.due_at = now + SPACING_SECONDS
        return group

    def finished(self, group: Iterable[Batch]) -> None:
        """Note that a group is not in work any more."""
        self._in_work.difference_update(batch.partition for batch in group)

    def forget(self, partition: int, position: int) -> None:
        """Let what was fetched of a partition behind a position wait no more: it is fetched again."""
        waiting = [batch for batch in self._waiting.pop(partition, []) if batch.next <= position]
        if waiting:
            self._waiting[partition] = waiting

    def clear(self) -> None:
        """Forget everything, what is in work too: the partitions are given back."""
        self._waiting.clear()
        self._in_work.clear()


def joined(batches: Sequence[Batch]) -> Batch:
    """Give one batch for several of a partition that follow each other."""
    first, last = batches[0], batches[-1]
    if first is last:
        return first
    records = list(chain.from_iterable(batch.records for batch in batches))
    return Batch(first.topic, first.partition, records, first.start, last.next, first.assignment)


def _count(batches: Iterable[Batch]) -> int:
    return sum(len(batch.records) for batch in batches)


def _fitting(batches: Sequence[Batch], room: int, *, at_least: int) -> int:
    fitting, taken = 0, 0
    for batch in batches:
        taken += len(batch.records)
        if taken > room and fitting >= at_least:
            break
        fitting += 1
    return fitting
