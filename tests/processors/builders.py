"""Events and batches for tests, with everything but what a test is about filled in."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from streams.engine.batch import Batch, Result, Stage
from streams.facts import VisitorEvent, encode_fact
from streams.silver import Revision

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event_id(number: int) -> str:
    return str(UUID(int=number))


def visitor_event(number: int, at: datetime, **fields: Any) -> VisitorEvent:
    fields = {"visitor_id": "v", "event_type": "page_viewed", "content_hash": number, **fields}
    return VisitorEvent(event_id=event_id(number), occurred_at=at, arrived_at=at, **fields)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def batch_of(topic: str, values: Iterable[bytes], start: int = 0) -> Batch:
    records: list[Any] = [
        SimpleNamespace(key=None, value=value, headers=(), timestamp=0, offset=start + i)
        for i, value in enumerate(values)
    ]
    return Batch(topic, 0, records, start, start + len(records), None)


class State(dict[bytes, bytes]):
    """The state of a partition, kept as the engine keeps it."""

    def take(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value

    def keys_below(self, bound: bytes, limit: int) -> list[bytes]:
        return sorted(key for key in self if key < bound)[:limit]


def run(stage: Stage, state: State, events: Iterable[VisitorEvent], start: int = 0) -> Result:
    """Run a stage on one batch, as the engine does."""
    batch = batch_of(stage.topic, [encode_fact(event) for event in events], start)
    result = stage.process(batch, state, Revision(1, batch.next - 1), NOON)
    for step in result.steps():
        state.take(step.changes)
        state.take(dict.fromkeys(step.expired))
    return result
