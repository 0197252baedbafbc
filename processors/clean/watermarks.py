"""How far event time has come at each source (a Kinesis shard), and which events are behind it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from processors.clean.facts import Lateness
from streams.engine.batch import StateReader
from streams.transport import TransportIdentity

SKEW_LIMIT: Final = timedelta(minutes=5)
"""An event further ahead of its arrival than this does not move the watermark."""

_IN_TIME: Final = Lateness(is_late=False, seconds=None)


class Watermarks:
    """The watermarks of one partition's sources while a batch is worked on: they never go back.

    Args:
        state: of the partition.
        gap: an event older than its source's watermark by more than this is late.
    """

    def __init__(self, state: StateReader, gap: timedelta) -> None:
        self._state = state
        self._gap = gap
        self._watermarks: dict[tuple[int, str], datetime | None] = {}

    def observe(self, identity: TransportIdentity, occurred_at: datetime, arrived_at: datetime) -> Lateness:
        """Say whether an event is late, and move its source's watermark."""
        source = (identity.stream_epoch, identity.shard)
        if source in self._watermarks:
            watermark = self._watermarks[source]
        else:
            stored = self._state.get(_state_key(source))
            watermark = datetime.fromisoformat(stored.decode()) if stored else None
            self._watermarks[source] = watermark
        if watermark is None or occurred_at > watermark:
            if occurred_at - arrived_at <= SKEW_LIMIT:
                self._watermarks[source] = occurred_at
            return _IN_TIME
        behind = watermark - occurred_at
        return _IN_TIME if behind <= self._gap else Lateness(is_late=True, seconds=behind.total_seconds())

    def changes(self) -> dict[bytes, bytes | None]:
        """Give the new state of every source seen in the batch."""
        return {
            _state_key(source): watermark.astimezone(UTC).isoformat().encode()
            for source, watermark in self._watermarks.items()
            if watermark is not None
        }


def _state_key(source: tuple[int, str]) -> bytes:
    epoch, shard = source
    return f"{epoch}/{shard}".encode()
