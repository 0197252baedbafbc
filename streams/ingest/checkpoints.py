"""When to checkpoint: as values, without a clock.

A checkpoint is a write to DynamoDB for each shard. One per batch would be up to four a second and shard, for
nothing but a shorter re-read after a crash, which merging makes harmless anyway. So one is made after an
acknowledged batch when the last is at least an interval ago; whoever stops in good order makes one at once.
"""

from typing import Final, NamedTuple

LONGEST_BACK_OFF_SECONDS: Final = 60.0


class Position(NamedTuple):
    """The last record of a shard that Kafka has acknowledged."""

    sequence_number: str
    sub_sequence_number: int


class CheckpointSchedule:
    """The place up to which all is acknowledged but not checkpointed yet, and when to do so.

    Args:
        every_seconds: the shortest time between two checkpoints; 0 makes one after every batch.
    """

    def __init__(self, every_seconds: float) -> None:
        self._every = every_seconds
        self._not_before = float("-inf")
        self._back_off = max(every_seconds, 0.5)
        self.pending: Position | None = None

    def acknowledge(self, position: Position) -> None:
        """Note that every record up to this one is on Kafka."""
        self.pending = position

    def due(self, now: float) -> Position | None:
        """Give what to checkpoint now, or None; `now` in seconds of a clock that never goes back."""
        return self.pending if now >= self._not_before else None

    def saved(self, now: float) -> None:
        """Note that what was pending is checkpointed."""
        self.pending = None
        self._not_before = now + self._every
        self._back_off = max(self._every, 0.5)

    def throttled(self, now: float) -> None:
        """Note that DynamoDB refused for its load: wait, longer each time, while records go on."""
        self._back_off = min(self._back_off * 2, LONGEST_BACK_OFF_SECONDS)
        self._not_before = now + self._back_off
