"""How far event time has come at each source (a Kinesis shard), and which events are behind it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from processors.clean.facts import Lateness
from streams.engine.batch import StateReader
from streams.transport import TransportIdentity

SKEW_LIMIT: Final = timedelta(minutes=5)
"""An event further ahead of its arrival than this does not move the watermark."""


class Watermarks:
    """The watermarks of one partition's sources while a batch is worked on: they never go back.

    Args:
        state: of the partition.
        gap: an event older than its source's watermark by more than this is late.
    """

    def __init__(self, state: StateReader, gap: timedelta) -> None:
        self._state = state
        self._gap = gap
        self._watermarks: dict[bytes, datetime | None] = {}

    def observe(self, identity: TransportIdentity, occurred_at: datetime) -> Lateness:
        """Say whether an event is late, and move its source's watermark."""
        source = f"{identity.stream_epoch}/{identity.shard}".encode()
        if source not in self._watermarks:
            stored = self._state.get(source)
            self._watermarks[source] = datetime.fromisoformat(stored.decode()) if stored else None
        watermark = self._watermarks[source]
        if occurred_at - identity.arrived_at <= SKEW_LIMIT and (watermark is None or occurred_at > watermark):
            self._watermarks[source] = occurred_at
        if watermark is None or watermark - occurred_at <= self._gap:
            return Lateness(is_late=False, seconds=None)
        return Lateness(is_late=True, seconds=(watermark - occurred_at).total_seconds())

    def changes(self) -> dict[bytes, bytes | None]:
        """Give the new state of every source seen in the batch."""
        return {
            source: watermark.astimezone(UTC).isoformat().encode()
            for source, watermark in self._watermarks.items()
            if watermark is not None
        }
