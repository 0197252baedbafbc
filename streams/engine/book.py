"""The book of one partition: which batches were fetched and which are done, without holes.

Around rebalances Faust drops messages fetched under an older generation without a word, so a batch can be
missing in the middle. A book that took the highest finished offset would commit past it and lose it. This one
chains fetch positions: a batch belongs to it only if it begins where the one before ended.
"""

from collections import deque
from typing import NamedTuple


class HoleError(Exception):
    """A batch begins after the place where the one before it ended: records in between never came."""


class Entry(NamedTuple):
    """A fetched batch by its fetch positions."""

    start: int
    next: int


class PartitionBook:
    """What was fetched from one partition under one assignment.

    Args:
        position: the first offset that is not yet done, as the broker said at assignment.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        """Everything before it is done; this is what may be committed."""
        self._tail = position
        self._open: deque[Entry] = deque()
        self._done: set[Entry] = set()

    @property
    def in_flight(self) -> int:
        """Number of batches fetched and not yet part of `position`."""
        return len(self._open)

    def fetched(self, start: int, next_position: int) -> bool:
        """Enter a batch.

        A batch that begins earlier than the last one ended follows a seek back to what was committed: what
        is not done and lies behind is fetched again, so it is struck out.

        Returns:
            whether the fetch went back.

        Raises:
            HoleError: it begins later than the last one ended.
        """
        if start > self._tail:
            raise HoleError(f"expected offset {self._tail}, got {start}")
        went_back = start < self._tail
        if went_back:
            while self._open and self._open[-1].next > start:
                self._done.discard(self._open.pop())
        self._open.append(Entry(start, next_position))
        self._tail = next_position
        return went_back

    def done(self, start: int, next_position: int) -> None:
        """Mark a batch done. One that was struck out in the meantime is ignored: it comes again."""
        entry = Entry(start, next_position)
        if entry not in self._open:
            return
        self._done.add(entry)
        while self._open and self._open[0] in self._done:
            first = self._open.popleft()
            self._done.discard(first)
            self.position = max(self.position, first.next)
