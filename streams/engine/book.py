"""The book of one partition: which batches were fetched and which are done, without holes.

Around rebalances Faust drops messages fetched under an older generation without a word, so a batch can be
missing in the middle. A book that took the highest finished offset would commit past it and lose it. This one
chains fetch positions: a batch belongs to it only if it begins where the one before ended.
"""

from typing import NamedTuple


class HoleError(Exception):
    """A batch begins after the place where the one before it ended: records in between never came."""


class Span(NamedTuple):
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
        self._open: dict[Span, int] = {}  # with its size, in the order of fetching
        self._done: set[Span] = set()

    @property
    def in_flight(self) -> int:
        """Number of batches fetched and not yet part of `position`."""
        return len(self._open)

    @property
    def tail(self) -> int:
        """The offset behind the last batch that was fetched."""
        return self._tail

    @property
    def bytes_in_flight(self) -> int:
        """Size of these batches."""
        return sum(self._open.values())

    def fetched(self, start: int, next_position: int, size: int = 0) -> bool:
        """Enter a batch.

        A batch that begins earlier than the last one ended follows a seek back to what was committed: what
        is not done and lies behind is fetched again, so it is struck out.

        Args:
            start: the fetch position before it.
            next_position: the fetch position after it.
            size: of the memory that it takes, in bytes.

        Returns:
            whether the fetch went back.

        Raises:
            HoleError: it begins later than the last one ended.
        """
        if start > self._tail:
            raise HoleError(f"expected offset {self._tail}, got {start}")
        went_back = start < self._tail
        if went_back:
            for span in [span for span in self._open if span.next > start]:
                del self._open[span]
                self._done.discard(span)
        self._open[Span(start, next_position)] = size
        self._tail = next_position
        return went_back

    def done(self, start: int, next_position: int) -> None:
        """Mark what was fetched between two positions done.

        A batch that was struck out in the meantime is ignored, unless what came instead lies between them
        too.
        """
        self._done.update(span for span in self._open if start <= span.start and span.next <= next_position)
        for first in list(self._open):
            if first not in self._done:
                break
            del self._open[first]
            self._done.discard(first)
            self.position = max(self.position, first.next)
