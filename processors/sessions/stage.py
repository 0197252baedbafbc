"""The sessions stage: clean events of visitors to their sessions, a day record at a time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from processors.batches import visitor_events
from processors.sessions.days import (
    DayRecord,
    NewEvent,
    VisitorDays,
    date_of,
    day_key,
    encode_day,
)
from processors.sessions.session import US, moment_of, to_row
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.facts import VisitorEvent
from streams.silver import REVISION, LateEvent, LateOutcome, Revision, SessionDay, encode_silver
from streams.topics import CLEAN_EVENTS, SILVER_LATE_EVENTS, SILVER_SESSIONS


class SessionsStage:
    """Keeps every visitor's sessions.

    Args:
        gap: a longer step between two events cuts a session.
    """

    name: Final = "sessions"
    topic: Final = CLEAN_EVENTS
    stateful: Final = True

    def __init__(self, gap: timedelta) -> None:
        self._gap_us = gap // US
        self.state_settings: Mapping[str, str] = {"gap_seconds": f"{gap.total_seconds():g}"}

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (event time alone decides)
        """Merge a batch; every day record it touched is written and sent, changed or not."""
        outputs: list[Output] = []
        changes: dict[bytes, bytes | None] = {}
        for visitor_id, events in _by_visitor(visitor_events(batch)).items():
            days = VisitorDays(visitor_id, state.get, self._gap_us)
            for new, outcome in days.merge(NewEvent(moment_of(event), event) for event in events):
                if new.event.is_late:
                    outputs.append(_late_output(new.event, outcome))
            for day in sorted(days.touched):
                record = days.record(day)
                changes[day_key(visitor_id, day)] = encode_day(record)
                outputs.append(_day_output(visitor_id, day, record, revision))
        return Result(outputs, changes)


def _by_visitor(events: Iterable[VisitorEvent]) -> dict[str, list[VisitorEvent]]:
    by_visitor: defaultdict[str, list[VisitorEvent]] = defaultdict(list)
    for event in events:
        by_visitor[event.visitor_id].append(event)
    return by_visitor


def _day_output(visitor_id: str, day: int, record: DayRecord, revision: Revision) -> Output:
    date = date_of(day)
    value = SessionDay(
        visitor_id=visitor_id,
        day=date,
        revision=revision,
        sessions=[to_row(visitor_id, session) for session in record.sessions],
    )
    key = f"{visitor_id}|{date}".encode()
    return Output(SILVER_SESSIONS, key, encode_silver(value), [(REVISION, revision.to_header())])


def _late_output(event: VisitorEvent, outcome: LateOutcome) -> Output:
    value = LateEvent(
        event_id=event.event_id,
        occurred_at=event.occurred_at,
        lateness_seconds=event.lateness_seconds or 0.0,
        outcome=outcome,
    )
    return Output(SILVER_LATE_EVENTS, event.event_id.encode(), encode_silver(value))
