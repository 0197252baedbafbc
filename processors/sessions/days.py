"""A visitor's sessions by UTC day of their start, and how events are merged into them.

One record of state is a visitor's day: the sessions that began on it. A session that runs past midnight is
found from the days it runs over by `earlier`, which names a day before; following it leads to where it began.

What a batch changes is written in steps, each acknowledged before the next, so that a crash in between leaves
nothing out:

- a way back (`earlier`) is written before the session that runs on into the day;
- a chunk of ids is written before the session that no longer carries them;
- the day that gains a session is written before the day that loses it; it is always an earlier day.

So what a crash leaves is at worst a session that has been taken over by another one: it lies within the
other, is met together with it, and is dropped.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from processors.sessions.clock import EVER
from processors.sessions.ids import CHUNK_BYTES, Chunks, capped, ids_among, names_of, sealed
from processors.sessions.keys import chunk_key, day_key
from processors.sessions.session import DAY_US, NewEvent, SessionState, higher, session_of
from streams.silver import LateOutcome


class DayRecord(Struct, array_like=True):
    """The sessions that began on one day, in order, and the day from which one runs on into it."""

    sessions: list[SessionState]
    earlier: int | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(DayRecord).decode
Steps = list[dict[bytes, bytes]]
Told = tuple[NewEvent, LateOutcome]


class VisitorDays:
    """One visitor's day records while a batch is worked on.

    Args:
        visitor_id: whose.
        read: gives a record of the state by its key, None if there is none.
        gap_us: a longer step between two events cuts a session.
        chunks: that were read lately.
    """

    def __init__(
        self, visitor_id: str, read: Callable[[bytes], bytes | None], gap_us: int, chunks: Chunks
    ) -> None:
        self._visitor_id = visitor_id
        self._read = read
        self._gap = gap_us
        self._chunks = chunks
        self._first_day = EVER
        self._stored: dict[int, bytes] = {}
        self._records: dict[int, DayRecord] = {}
        self._overfull: list[tuple[int, int, int]] = []
        self._moved_to: dict[int, set[int]] = {}
        self._ways_set: dict[int, set[int]] = {}
        self.touched: set[int] = set()
        """Days whose records are to be written and sent, changed or not."""

    def record(self, day: int) -> DayRecord:
        """Give a day's record, an empty one if there is none."""
        record = self._records.get(day)
        if record is None:
            stored = self._stored[day] = self._read(day_key(self._visitor_id, day)) or b""
            record = self._records[day] = _decode(stored) if stored else DayRecord([])
            self._overfull += [
                (s.first_us, s.last_us, s.through) for s in record.sessions if s.through is not None
            ]
        return record

    def merge(self, events: list[NewEvent], first_day: int = EVER) -> list[Told]:
        """Merge events, in any order and with repetitions.

        Args:
            events: of this visitor; they will be sorted.
            first_day: sessions that began before it are closed. It must not go back.

        Returns:
            the events that were new, each with what it did to the sessions.
        """
        self._first_day = first_day
        events.sort()
        told: list[Told] = []
        for run in _runs(events, self._gap):
            met = self._met(run)
            unknown = self._unknown(run, met, told)
            if unknown is run:  # the usual case, and nothing has to be looked up again
                self._merge_run(run, met, told)
                continue
            for part in _runs(unknown, self._gap):
                self._merge_run(part, self._met(part), told)
            self._touch(run, self._met(run))
        return told

    def steps(self, through: int) -> Steps:
        """Give what is to be written, in steps of which each must be acknowledged before the next.

        Args:
            through: last input offset of the batch.
        """
        steps: Steps = [{}]
        step_of: dict[int, int] = {}
        for day in sorted(self.touched):
            key, record = day_key(self._visitor_id, day), self._records[day]
            chunks = self._seal(day, record, through)
            after = [step_of[other] for other in self._moved_to.get(day, ())]
            if chunks or day in self._ways_set:
                after.append(0)
            step = step_of[day] = max(after, default=-1) + 1
            while len(steps) <= step:
                steps.append({})
            steps[step][key] = _encode(record)
            steps[0].update(chunks)
        self._add_ways(steps, step_of)
        return steps

    def _add_ways(self, steps: Steps, step_of: dict[int, int]) -> None:
        """Let a way back that a session needs be there before it, where the day's own change comes later."""
        for way in set().union(*self._ways_set.values()):
            if step_of[way] > 0:
                stored = self._stored[way]
                before = _decode(stored) if stored else DayRecord([])
                before.earlier = self._records[way].earlier
                steps[0][day_key(self._visitor_id, way)] = _encode(before)

    def _seal(self, day: int, record: DayRecord, through: int) -> dict[bytes, bytes]:
        chunks: dict[bytes, bytes] = {}
        for session in record.sessions:
            if session.is_overfull:
                # Not before: until the batch is through, what it repeats is known by all ids.
                session.ids, session.chunks = capped(session.ids, session.chunks)
                session.through = higher(session.through, through)
            elif len(session.ids) < CHUNK_BYTES:
                continue
            session.ids, new = sealed(day, session.ids, whole=session.is_overfull)
            session.chunks += b"".join(new)
            chunks.update((chunk_key(self._visitor_id, name), ids) for name, ids in new.items())
        return chunks

    def _unknown(self, run: list[NewEvent], met: list[SessionState], told: list[Told]) -> list[NewEvent]:
        """Give the events of a run that no session has and that are not too old, each once."""
        by_id: dict[bytes, NewEvent] = {}
        for new in run:
            other = by_id.get(new.id_hash)
            if other is None or new.offset < other.offset:
                by_id[new.id_hash] = new
        wanted = set(by_id)
        for session in met:
            wanted -= ids_among(wanted, session.ids)
            for name in names_of(session.chunks):
                wanted -= self._chunks.ids_of(chunk_key(self._visitor_id, name), self._read)
        if len(wanted) == len(run) and run[0].at_us >= self._first_day * DAY_US and not self._overfull:
            return run
        unknown = sorted(
            new for id_hash, new in by_id.items() if id_hash in wanted and not self._is_replay(new)
        )
        told += [(new, "beyond_retention") for new in unknown if new.at_us < self._first_day * DAY_US]
        return [new for new in unknown if new.at_us >= self._first_day * DAY_US]

    def _is_replay(self, new: NewEvent) -> bool:
        """Whether an event has been counted in a session that has not kept its id."""
        return any(
            first_us <= new.at_us <= last_us and new.offset <= through
            for first_us, last_us, through in self._overfull
        )

    def _merge_run(self, run: list[NewEvent], met: list[SessionState], told: list[Told]) -> None:
        """Put a run of new events, none further than the gap from the next, into the sessions it touches."""
        met = [session for session in met if not self._is_closed(session)]
        outcome: LateOutcome = ("started_session", "merged", "joined_sessions")[min(len(met), 2)]
        told += [(new, outcome) for new in run]
        if met:
            merged, day = met[0], met[0].start_day
            for session in met[1:]:
                self._take_over(merged, session)
            merged.add(run)
            if merged.start_day != day:
                self._move(merged, day)
        else:
            merged = session_of(run)
            self._insert(merged)
        self._touch(run, [merged])

    def _met(self, run: list[NewEvent]) -> list[SessionState]:
        """Give the sessions that a run touches, in order; those within the gap of each other are made one."""
        start, end = run[0].at_us - self._gap, run[-1].at_us + self._gap
        met = [
            session
            for day in self._days_between(start, end)
            for session in self.record(day).sessions
            if session.first_us <= end and start <= session.last_us
        ]
        return self._made_one(met) if len(met) > 1 else met

    def _days_between(self, start_us: int, end_us: int) -> Iterable[int]:
        """Give the days of a stretch of time, and those where sessions that run into them began."""
        first, last = start_us // DAY_US, end_us // DAY_US
        if first == last and self.record(first).earlier is None:
            return (first,)
        found: dict[int, None] = {}
        for day in range(first, last + 1):
            at: int | None = day
            while at is not None and at not in found:
                found[at] = None
                at = self.record(at).earlier
        return found

    def _made_one(self, met: list[SessionState]) -> list[SessionState]:
        """Join sessions that lie within the gap of each other, as only a crash leaves them."""
        kept: list[SessionState] = []
        for session in sorted(met, key=lambda s: (s.first_us, -s.last_us)):
            last = kept[-1] if kept else None
            if (
                last is None
                or session.first_us - last.last_us > self._gap
                or self._is_closed(last)
                or self._is_closed(session)
            ):
                kept.append(session)
            elif session.last_us <= last.last_us:  # the other one has taken it over
                self._remove(session, last.start_day)
            else:
                self._take_over(last, session)
        return kept

    def _is_closed(self, session: SessionState) -> bool:
        return session.start_day < self._first_day

    def _take_over(self, session: SessionState, other: SessionState) -> None:
        """Let a session absorb a later one."""
        self._remove(other, session.start_day)
        session.absorb(other)

    def _remove(self, session: SessionState, gained_by: int) -> None:
        self.record(session.start_day).sessions.remove(session)
        self.touched |= {session.start_day, gained_by}
        if session.start_day != gained_by:
            self._moved_to.setdefault(session.start_day, set()).add(gained_by)

    def _move(self, session: SessionState, from_day: int) -> None:
        """Note that a session begins on an earlier day now."""
        sessions = self.record(from_day).sessions
        sessions.remove(session)
        self.touched.add(from_day)
        self._moved_to.setdefault(from_day, set()).add(session.start_day)
        self._insert(session)

    def _insert(self, session: SessionState) -> None:
        sessions = self.record(session.start_day).sessions
        sessions.append(session)
        sessions.sort(key=lambda s: s.first_us)
        self.touched.add(session.start_day)

    def _touch(self, run: list[NewEvent], sessions: list[SessionState]) -> None:
        """Mark every record that merging a run into sessions may ever have changed; set the ways back."""
        around = range((run[0].at_us - self._gap) // DAY_US, (run[-1].at_us + self._gap) // DAY_US + 1)
        for session in sessions:
            start_day = session.start_day
            if start_day < self._first_day:
                continue
            self.touched.add(start_day)
            for day in around:
                if start_day < day <= session.end_day:
                    self.touched.add(day)
                    record = self.record(day)
                    if record.earlier is None or record.earlier < session.start_day:
                        record.earlier = session.start_day
                        self._ways_set.setdefault(session.start_day, set()).add(day)


def _runs(events: list[NewEvent], gap_us: int) -> Iterator[list[NewEvent]]:
    """Cut sorted events where the step is over the gap."""
    run: list[NewEvent] = []
    for new in events:
        if run and new.at_us - run[-1].at_us > gap_us:
            yield run
            run = []
        run.append(new)
    if run:
        yield run
