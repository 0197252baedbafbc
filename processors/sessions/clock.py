"""The clock of a partition's event time, by which sessions are retained.

It counts in whole UTC days: with a retention of 400 days, the clock's day and the 400 before it are retained.
A session that began before them is closed: nothing that comes in changes it.

Another retention holds at once, with one exception: a day whose state may have been deleted is never open
again. What came into it would make its sessions anew, in the place of those that sinks have.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from processors.sessions.session import DAY_US

AHEAD: Final = timedelta(minutes=5)
"""An event further ahead of its arrival does not move the clock, as it does not move watermarks."""
SETTLED_AFTER_SECONDS: Final = 600
"""Offsets are committed every second. What has been done this long does not come again in a replay."""
_NO_OFFSET: Final = -(2**63)
"""Below all, also those of a rebuild."""
EVER: Final = -(2**26)
"""A day before all others."""


class ClockState(Struct, array_like=True):
    """What is kept of the clock.

    `settled_day` is the first day that was open before anything that can still be replayed. `pending_day` was
    the first open one at `pending_since` (seconds since 1970), and is to be the settled one. A replay, which
    begins at or below `last_offset`, the highest worked on, puts that off. Before `gone_day` state may have
    been deleted, before `empty_day` nothing is left.
    """

    at_us: int
    settled_day: int
    pending_day: int
    pending_since: int
    last_offset: int
    gone_day: int
    empty_day: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ClockState).decode


class Clock:
    """The clock while a batch is worked on: the largest instant seen; it never goes back.

    Args:
        stored: the clock of the state, None in the beginning.
        retention_days: how many days are retained beside the clock's own; None: all.
        now: the wall clock.
    """

    def __init__(self, stored: bytes | None, retention_days: int | None, now: datetime) -> None:
        self._state = (
            _decode(stored) if stored else ClockState(EVER * DAY_US, EVER, EVER, 0, _NO_OFFSET, EVER, EVER)
        )
        self._retention_days = retention_days
        self._now = now
        self.first_day = EVER
        """The first day that is retained."""
        self._set_first_day()

    @property
    def at_us(self) -> int:
        """Microseconds since 1970."""
        return self._state.at_us

    @property
    def empty_day(self) -> int:
        """The day before which nothing is left in the state."""
        return self._state.empty_day

    @empty_day.setter
    def empty_day(self, day: int) -> None:
        self._state.empty_day = day

    def encoded(self) -> bytes:
        """Give what is to be kept."""
        return _encode(self._state)

    def observe(self, at_us: int, occurred_at: datetime, arrived_at: datetime) -> bool:
        """Let an event move the clock, unless it is ahead of its arrival or of the wall clock.

        The wall clock has a say only when the instant of arrival lies in the future, as a foreign producer
        may claim: one such event would close the past for ever.

        Args:
            at_us: when it occurred, in microseconds since 1970.
            occurred_at: the same instant.
            arrived_at: when it is said to have arrived.

        Returns:
            whether another day is the first that is retained.
        """
        before = self._state.at_us
        if at_us <= before or occurred_at - min(arrived_at, self._now) > AHEAD:
            return False
        self._state.at_us = at_us
        return at_us // DAY_US > before // DAY_US and self._set_first_day()

    def settle(self, start: int, end: int) -> int:
        """Note which days are closed, and find out what may expire.

        A replay may bring again what is in a session that has been closed meanwhile, and must find it
        there. So a day expires only when the closing of it is beyond replays, and when the batch before has
        stored that it may: of what one batch sends, a crash may leave the deletions alone.

        Args:
            start: offset at which the batch begins.
            end: its last offset.

        Returns:
            the first day that must not expire.
        """
        state, seconds, may_expire = self._state, int(self._now.timestamp()), self._state.gone_day
        if start <= state.last_offset:
            state.pending_since = seconds
        elif seconds - state.pending_since >= SETTLED_AFTER_SECONDS:
            state.settled_day, state.pending_day = state.pending_day, self.first_day
            state.pending_since = seconds
        state.last_offset = max(state.last_offset, end)
        # With a longer retention days are open again, and have to be closed again before they expire.
        state.pending_day = min(state.pending_day, self.first_day)
        state.settled_day = min(state.settled_day, self.first_day)
        state.gone_day = max(state.gone_day, state.settled_day)
        return may_expire

    def _set_first_day(self) -> bool:
        before = self.first_day
        self.first_day = self._state.gone_day
        if self._retention_days is not None and self._state.at_us != EVER * DAY_US:
            self.first_day = max(self.first_day, self._state.at_us // DAY_US - self._retention_days)
        return self.first_day != before
