"""The sessions stage: clean events of visitors to their sessions, a day record at a time."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from processors.batches import visitor_events
from processors.sessions.clock import Clock
from processors.sessions.days import Steps, Told, VisitorDays
from processors.sessions.ids import Chunks, hash_of
from processors.sessions.keys import CLOCK_KEY, date_of, day_bound
from processors.sessions.session import EPOCH, US, NewEvent, SessionState, to_row
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.silver import REVISION, LateEvent, Revision, SessionDay, encode_silver
from streams.topics import CLEAN_EVENTS, SILVER_LATE_EVENTS, SILVER_SESSIONS

EXPIRED_PER_BATCH: Final = 1_000
ONE_DAY: Final = timedelta(days=1)
Segment = tuple[int, dict[str, list[NewEvent]]]


class SessionsStage:
    """Keeps every visitor's sessions.

    Args:
        gap: a longer step between two events cuts a session.
        retention: how far behind the partition's clock an event may be and still count; it is rounded up to
            whole days. None: any.
        currency: that revenue is in, so that nobody goes on with another one; empty: it is not noted.
    """

    name: Final = "sessions"
    topic: Final = CLEAN_EVENTS
    stateful: Final = True

    def __init__(self, gap: timedelta, retention: timedelta | None, currency: str = "") -> None:
        self._gap_us = gap // US
        self._retention_days = None if retention is None else -(-retention // ONE_DAY)
        self._chunks = Chunks()
        self.state_settings: Mapping[str, str] = {
            "gap_seconds": f"{gap.total_seconds():g}",
            "layout": "3",
            **({"base_currency": currency} if currency else {}),
        }

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:
        """Merge a batch; every day record it touched is written and sent, changed or not.

        The result is the same however the input is cut into batches: the clock moves event by event.
        """
        clock = Clock(state.get(CLOCK_KEY), self._retention_days, now)
        first_day_before = clock.first_day
        visitors: dict[str, VisitorDays] = {}
        told: list[Told] = []
        for first_day, by_visitor in _segments(batch, clock):
            for visitor_id, events in by_visitor.items():
                days = visitors.get(visitor_id)
                if days is None:
                    days = visitors[visitor_id] = VisitorDays(
                        visitor_id, state.get, self._gap_us, self._chunks
                    )
                told += days.merge(events, first_day)
        outputs = [
            _day_output(visitor_id, day, days.record(day).sessions, revision)
            for visitor_id, days in visitors.items()
            for day in sorted(days.touched)
        ]
        late = list(_late_outputs(told, clock.at_us))
        steps = _merged_steps(days.steps(revision.offset) for days in visitors.values())
        if late:
            # What an event did is told before its state is known: a replay could not tell any more.
            steps.insert(0, {})
        if clock.first_day != first_day_before:
            # A closed session is not looked at again: until then, all that changed it must be there.
            steps.append({})
        expired = _expired(clock, state, batch.start, revision.offset)
        steps[-1][CLOCK_KEY] = clock.encoded()
        result = Result(changes=steps.pop(), expired=expired)
        while steps:
            result = Result(changes=steps.pop(), then=result)
        result.outputs = outputs + late
        return result


def _segments(batch: Batch, clock: Clock) -> Iterator[Segment]:
    """Give a batch's events by visitor, cut where the clock closes another day; with the first open day."""
    by_visitor: defaultdict[str, list[NewEvent]] = defaultdict(list)
    first_day = clock.first_day
    for record, event in zip(batch.records, visitor_events(batch), strict=True):
        at_us = (event.occurred_at - EPOCH) // US
        if clock.observe(at_us, event.occurred_at, event.arrived_at):
            yield first_day, by_visitor
            first_day, by_visitor = clock.first_day, defaultdict(list)
        event_id = bytes.fromhex(event.event_id.replace("-", ""))
        by_visitor[event.visitor_id].append(
            NewEvent(at_us, event_id, record.offset, hash_of(event_id), event)
        )
    yield first_day, by_visitor


def _expired(clock: Clock, state: StateReader, start: int, end: int) -> list[bytes]:
    """Give some of what may be deleted; a batch deletes a bounded number, the next ones the rest."""
    bound = clock.settle(start, end)
    if bound <= clock.empty_day:
        return []
    keys = state.keys_below(day_bound(bound), EXPIRED_PER_BATCH)
    if len(keys) < EXPIRED_PER_BATCH:
        clock.empty_day = bound
    return keys


def _merged_steps(of_visitors: Iterable[Steps]) -> list[dict[bytes, bytes | None]]:
    merged: list[dict[bytes, bytes | None]] = [{}]
    for steps in of_visitors:
        for i, changes in enumerate(steps):
            if i == len(merged):
                merged.append({})
            merged[i].update(changes)
    return merged


def _day_output(visitor_id: str, day: int, sessions: list[SessionState], revision: Revision) -> Output:
    date = date_of(day)
    value = SessionDay(
        visitor_id=visitor_id,
        day=date,
        revision=revision,
        sessions=[to_row(visitor_id, session) for session in sessions],
    )
    key = f"{visitor_id}|{date}".encode()
    return Output(SILVER_SESSIONS, key, encode_silver(value), [(REVISION, revision.to_header())])


def _late_outputs(told: Iterable[Told], clock_us: int) -> Iterator[Output]:
    """List what came late or too late. What is known already was listed, if at all, when it came first."""
    for new, outcome in told:
        event = new.event
        if not event.is_late and outcome != "beyond_retention":
            continue
        seconds = event.lateness_seconds
        value = LateEvent(
            event_id=event.event_id,
            occurred_at=event.occurred_at,
            arrived_at=event.arrived_at,
            lateness_seconds=(clock_us - new.at_us) / 1_000_000 if seconds is None else seconds,
            outcome=outcome,
        )
        yield Output(SILVER_LATE_EVENTS, event.event_id.encode(), encode_silver(value))
