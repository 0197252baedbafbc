"""A visitor's sessions by UTC day of their start, and how events are merged into them.

One record of state is a visitor's day: the sessions that began on it. A session that runs past midnight is
found from the days it runs over by `earlier`, which names a day before; following it leads to where it began.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import reduce
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from processors.sessions.session import (
    DAY_US,
    Moment,
    SessionState,
    merge_sessions,
    session_of,
)
from streams.facts import VisitorEvent
from streams.silver import LateOutcome

_DAY: Final = struct.Struct(">i")
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class DayRecord(Struct, array_like=True):
    """The sessions that began on one day, in order, and the day from which one runs on into it."""

    sessions: list[SessionState]
    earlier: int | None = None


encode_day = msgspec.msgpack.Encoder().encode
_decode_day = msgspec.msgpack.Decoder(DayRecord).decode


def day_key(visitor_id: str, day: int) -> bytes:
    """Give the state's key of a visitor's day (days since 1970-01-01)."""
    return visitor_id.encode() + _DAY.pack(day)


def date_of(day: int) -> date:
    """Give the date of a day counted from 1970-01-01."""
    return date.fromordinal(_EPOCH_ORDINAL + day)


class NewEvent(NamedTuple):
    """An event to merge: its place in order, and the event."""

    moment: Moment
    event: VisitorEvent


class VisitorDays:
    """One visitor's day records while a batch is worked on.

    Args:
        visitor_id: whose.
        read: gives a record of the state by its key, None if there is none.
        gap_us: a longer step between two events cuts a session.
    """

    def __init__(self, visitor_id: str, read: Callable[[bytes], bytes | None], gap_us: int) -> None:
        self._visitor_id = visitor_id
        self._read = read
        self._gap = gap_us
        self._days: dict[int, DayRecord] = {}
        self.touched: set[int] = set()
        """Days whose records are to be written and sent, changed or not."""

    def record(self, day: int) -> DayRecord:
        """Give a day's record, an empty one if there is none."""
        record = self._days.get(day)
        if record is None:
            stored = self._read(day_key(self._visitor_id, day))
            record = self._days[day] = _decode_day(stored) if stored else DayRecord([])
        return record

    def merge(self, events: Iterable[NewEvent]) -> Iterator[tuple[NewEvent, LateOutcome]]:
        """Merge events, in any order and with repetitions; say of each what it did to the sessions."""
        for run in _runs(sorted(events, key=_moment), self._gap):
            known = [s for s in self._sessions_near(run) if self._touches(s, run)]
            ids = set().union(*(session.id_set() for session in known))
            fresh = []
            for event in run:
                if event.moment.event_id not in ids:
                    ids.add(event.moment.event_id)
                    fresh.append(event)
            outcome: LateOutcome = "merged"
            for part in _runs(fresh, self._gap):
                outcome = self._merge_run(part)
            self._touch(run)
            yield from ((event, outcome) for event in run)

    def _merge_run(self, run: list[NewEvent]) -> LateOutcome:
        """Put a run of new events, none further than the gap from the next, into the sessions it touches."""
        merged = reduce(merge_sessions, (session_of(new.event, new.moment) for new in run))
        met = [s for s in self._sessions_near(run) if self._touches(s, run)]
        for session in met:
            self._remove(session)
            merged = merge_sessions(merged, session)
        self._insert(merged)
        return ("started_session", "merged", "joined_sessions")[min(len(met), 2)]

    def _touches(self, session: SessionState, run: list[NewEvent]) -> bool:
        start, end = run[0].moment.at_us, run[-1].moment.at_us
        return session.first.at_us - self._gap <= end and start <= session.last.at_us + self._gap

    def _days_around(self, run: list[NewEvent]) -> range:
        start, end = run[0].moment.at_us - self._gap, run[-1].moment.at_us + self._gap
        return range(start // DAY_US, end // DAY_US + 1)

    def _sessions_near(self, run: list[NewEvent]) -> list[SessionState]:
        found: dict[int, None] = {}
        for day in self._days_around(run):
            at: int | None = day
            while at is not None and at not in found:
                found[at] = None
                at = self.record(at).earlier
        return [session for day in found for session in self.record(day).sessions]

    def _remove(self, session: SessionState) -> None:
        self.record(session.start_day).sessions.remove(session)
        self.touched.add(session.start_day)

    def _insert(self, session: SessionState) -> None:
        sessions = self.record(session.start_day).sessions
        sessions.append(session)
        sessions.sort(key=lambda s: s.first)
        self.touched.add(session.start_day)

    def _touch(self, run: list[NewEvent]) -> None:
        """Mark every record that merging this run may ever have changed, and set the ways back."""
        around = self._days_around(run)
        for session in self._sessions_near(run):
            if not self._touches(session, run):
                continue
            self.touched.add(session.start_day)
            for day in around:
                if session.start_day < day <= session.end_day:
                    self.touched.add(day)
                    if self.record(day).earlier is None:
                        self.record(day).earlier = session.start_day


def _moment(event: NewEvent) -> Moment:
    return event.moment


def _runs(events: list[NewEvent], gap_us: int) -> Iterator[list[NewEvent]]:
    """Cut sorted events where the step is over the gap."""
    run: list[NewEvent] = []
    for event in events:
        if run and event.moment.at_us - run[-1].moment.at_us > gap_us:
            yield run
            run = []
        run.append(event)
    if run:
        yield run
