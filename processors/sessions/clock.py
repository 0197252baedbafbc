"""The clock of a partition's event time, by which sessions are retained.

It counts in whole UTC days: with a retention of 400 days, the clock's day and the 400 before it are retained.
A session that began before them is closed: nothing that comes in changes it.
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
_NOTHING_PENDING: Final = -1
EVER: Final = -(2**26)
"""A day before all others."""


class ClockState(Struct, array_like=True):
    """What is kept of the clock.

    `settled_day` is a day on which the clock stood before anything that can still be replayed. To find it,
    `pending_day` is where it stood at the offset `pending_offset`, last worked on at `pending_since` (seconds
    since 1970). Before `empty_day` nothing is left.
    """

    at_us: int
    settled_day: int
    pending_day: int
    pending_offset: int
    pending_since: int
    empty_day: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ClockState).decode


class Clock:
    """The clock while a batch is worked on: the largest instant seen; it never goes back.

    Args:
        stored: the clock of the state, None in the beginning.
        retention_days: how many days are retained beside the clock's own; None: all.
    """

    def __init__(self, stored: bytes | None, retention_days: int | None) -> None:
        self._state = (
            _decode(stored) if stored else ClockState(EVER * DAY_US, EVER, EVER, _NOTHING_PENDING, 0, EVER)
        )
        self._retention_days = retention_days
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

    def observe(self, at_us: int, ahead: timedelta) -> bool:
        """Let an event move the clock.

        Args:
            at_us: when it occurred, in microseconds since 1970.
            ahead: of its arrival.

        Returns:
            whether another day is the first that is retained.
        """
        before = self._state.at_us
        if at_us <= before or ahead > AHEAD:
            return False
        self._state.at_us = at_us
        return at_us // DAY_US > before // DAY_US and self._set_first_day()

    def settle(self, start: int, end: int, now: datetime) -> int:
        """Note where the clock stands, and find out what may expire.

        A replay may bring again what is in a session that has been closed meanwhile, and must find it
        there. So a day expires only when the closing of it is beyond replays.

        Args:
            start: offset at which the batch begins.
            end: its last offset.
            now: the wall clock.

        Returns:
            the first day that must not expire.
        """
        state, seconds = self._state, int(now.timestamp())
        if start <= state.pending_offset:
            state.pending_since = seconds
        elif seconds - state.pending_since >= SETTLED_AFTER_SECONDS:
            state.settled_day = state.pending_day
            state.pending_day, state.pending_offset = state.at_us // DAY_US, end
            state.pending_since = seconds
        if self._retention_days is None or state.settled_day == EVER:
            return EVER
        return state.settled_day - self._retention_days

    def _set_first_day(self) -> bool:
        if self._retention_days is None or self._state.at_us == EVER * DAY_US:
            return False
        self.first_day = self._state.at_us // DAY_US - self._retention_days
        return True
