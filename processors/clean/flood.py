"""When most of what arrives is broken: a wrong deploy, not bad data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from processors.outcomes import Refusal
from streams.dead_letters import FieldError, Reason

FLOOD_RECORDS: Final = 200
_LONGEST: Final = 2 * FLOOD_RECORDS - 1
"""A longer stretch, mostly broken, holds one of at most this length that is: halve it until it is short."""

Broken = tuple[Reason, FieldError]


@dataclass(frozen=True)
class Flood:
    """A stretch of consecutive records of which more than half are broken."""

    records: int
    broken: int
    reason: Reason
    example: FieldError

    def __str__(self) -> str:
        """Say it to the operator."""
        return (
            f"{self.broken} of {self.records} consecutive records are broken, most with {self.reason} "
            f"(for example {self.example.path}: {self.example.message})"
        )


@dataclass
class _Tail:
    """What became of a partition's last records; None: accepted. `next` is the offset that follows."""

    next: int
    outcomes: list[Broken | None] = field(default_factory=list)


class FloodWatch:
    """Looks at the outcomes of each partition's consecutive records, across batches.

    It remembers since the process began, and of at most 399 records. That is not state: after a stop somebody
    has corrected the producer or the rules, and what was broken under the old ones says nothing of the new.
    """

    def __init__(self) -> None:
        self._tails: dict[int, _Tail] = {}

    def add(self, partition: int, start: int, following: int, outcomes: Sequence[object]) -> Flood | None:
        """Add a batch, unless it completes a flood: give the flood then.

        Args:
            partition: of the batch.
            start: fetch position before the batch; if the one before did not end there, counting begins anew
                (after a rebalance batches may come again).
            following: fetch position after it.
            outcomes: of each record; those that are a `Refusal` are broken.
        """
        tail = self._tails.get(partition)
        if tail is None or tail.next != start:
            tail = _Tail(start)
        new = [(o.reason, o.errors[0]) if isinstance(o, Refusal) else None for o in outcomes]
        combined = tail.outcomes + new
        flood = find_flood(combined, len(tail.outcomes)) if any(combined) else None
        if flood is None:
            self._tails[partition] = _Tail(following, combined[-(_LONGEST - 1) :])
        return flood


def find_flood(outcomes: Sequence[Broken | None], known: int = 0) -> Flood | None:
    """Find the first stretch of at least `FLOOD_RECORDS` of which more than half are broken.

    Args:
        outcomes: of consecutive records; None: accepted.
        known: so many of the first have been looked at before; a stretch that ends among them is none.
    """
    # Broken counts 1, accepted -1: a stretch is mostly broken if the sum is higher after it than before it.
    sums = [0, *accumulate(1 if each else -1 for each in outcomes)]
    lowest = 0
    for end in range(FLOOD_RECORDS, len(sums)):
        begin = end - FLOOD_RECORDS
        if sums[begin] <= sums[lowest]:
            lowest = begin
        if end > known and sums[end] > sums[lowest]:
            return _describe([each for each in outcomes[lowest:end] if each], end - lowest)
    return None


def _describe(broken: Sequence[Broken], records: int) -> Flood:
    reason, _count = Counter(reason for reason, _error in broken).most_common(1)[0]
    example = next(error for each, error in broken if each is reason)
    return Flood(records, len(broken), reason, example)
