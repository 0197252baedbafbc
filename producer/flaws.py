"""What goes wrong on the way: events that come late, come twice, or come broken."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from producer.breakage import CONFLICTING_TYPES, REASONS, SPOILERS, make_conflicting
from producer.records import Record, partition_key_of
from producer.shop.draws import DAY, HOUR, MINUTE
from streams.dead_letters import Reason
from streams.events import STREAM_OF_TYPE, Event, Stream, event_type_of

LATE_AFTER: Final = timedelta(minutes=30)
SHORTEST_DELAY: Final = 31 * MINUTE
CONFLICT_DISTANCE: Final = 3_000
"""Records between an event and the one that takes its id: never in one request, whose order is not sure."""
DUPLICATE_DISTANCE: Final = 5_000

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Flaws:
    """How much goes wrong.

    Args:
        late: share of the facts that are held back, by at least 31 minutes of event time, some by days.
        duplicates: number of facts that are sent twice, half of them at once, the others later.
        broken: number of broken records, the reasons taking turns.
    """

    late: float = 0.0
    duplicates: int = 0
    broken: int = 0


def delay_seconds(rng: random.Random, longest: float) -> float:
    """Draw how late an event comes: mostly hours, sometimes days; at most `longest`, above half an hour."""
    chance = rng.random()
    if chance < 0.35:  # noqa: PLR2004  (shares of the delays)
        delay = rng.uniform(SHORTEST_DELAY, 2 * HOUR)
    elif chance < 0.8:  # noqa: PLR2004  (likewise)
        delay = rng.uniform(2 * HOUR, DAY)
    else:
        delay = rng.uniform(DAY, 5 * DAY)
    return max(SHORTEST_DELAY, min(delay, longest))


class _Spoiler:
    def __init__(
        self,
        flaws: Flaws,
        *,
        rng: random.Random,
        facts: int,
        span: float,
        end: float,
        clock: Callable[[], datetime] | None,
    ) -> None:
        self._rng = rng
        self._facts_left = facts
        self._flaws = flaws
        self._duplicates_left = flaws.duplicates
        self._broken_left = flaws.broken
        self._longest_delay = span / 4
        self._last_to_delay = end - 1.5 * HOUR
        self._clock = clock
        self._conflict_distance = min(CONFLICT_DISTANCE, max(1, facts // 10))
        self._sent = 0
        self._holds = 0
        self._held: list[tuple[float, int, Record]] = []
        self._again: list[tuple[int, int, Record]] = []
        self._newest: dict[Stream, datetime] = {}
        self._examples: dict[str, Record] = {}
        self._conflictable: deque[tuple[int, Record]] = deque()
        self._reasons = deque(rng.sample(REASONS, len(REASONS)))

    def run(self, events: Iterator[Event]) -> Iterator[Record]:
        for event in events:
            at = event.occurred_at.timestamp()
            while self._held and self._held[0][0] <= at:
                yield from self._release(at)
            is_delayed = self._rng.random() < self._flaws.late
            if self._clock is not None:
                event.occurred_at = self._clock()
                if is_delayed:
                    event.occurred_at -= timedelta(seconds=delay_seconds(self._rng, 3 * DAY))
            record = _to_record(event)
            if self._clock is None and is_delayed and at < self._last_to_delay:
                due = at + delay_seconds(self._rng, self._longest_delay)
                self._hold(due, record)
            else:
                yield from self._send(record)
        while self._held:
            yield from self._send(heapq.heappop(self._held)[2])
        for _, _, record in sorted(self._again, key=lambda waiting: waiting[:2]):
            yield record

    def _hold(self, due: float, record: Record) -> None:
        self._holds += 1
        heapq.heappush(self._held, (due, self._holds, record))

    def _release(self, at: float) -> Iterator[Record]:
        """Send the first event held back, or hold it longer if nothing newer of its stream was sent."""
        record = heapq.heappop(self._held)[2]
        newest = self._newest.get(record.stream)
        if newest is None or record.occurred_at is None or newest - record.occurred_at <= LATE_AFTER:
            self._hold(at + HOUR, record)
        else:
            yield from self._send(record)

    def _send(self, record: Record) -> Iterator[Record]:
        """Give a fact, and what goes wrong after it."""
        assert record.occurred_at is not None  # noqa: S101  (facts have one; for the type checker)
        newest = self._newest.get(record.stream)
        if newest is None or record.occurred_at > newest:
            self._newest[record.stream] = record.occurred_at
        else:
            record.late = newest - record.occurred_at > LATE_AFTER
        self._sent += 1
        yield record
        self._remember(record)
        # Selection sampling (Knuth, algorithm S): in the end exactly the wanted number has been chosen.
        if self._rng.random() * self._facts_left < self._duplicates_left:
            self._duplicates_left -= 1
            yield from self._duplicate(record)
        broken = self._broken_left / self._facts_left
        self._facts_left -= 1
        for _ in range(int(broken) + (self._rng.random() < broken % 1)):
            if self._broken_left:
                yield self._broken()
        while not self._facts_left and self._broken_left:
            yield self._broken()
        while self._again and self._again[0][0] <= self._sent:
            yield heapq.heappop(self._again)[2]

    def _remember(self, record: Record) -> None:
        self._examples[record.event_type or ""] = record
        if not self._flaws.broken:
            return
        if record.event_type in CONFLICTING_TYPES and len(self._conflictable) < CONFLICT_DISTANCE:
            self._conflictable.append((self._sent, record))

    def _duplicate(self, record: Record) -> Iterator[Record]:
        again = Record(
            stream=record.stream,
            value=record.value,
            partition_key=record.partition_key,
            kind="duplicate",
            event_id=record.event_id,
            event_type=record.event_type,
            occurred_at=record.occurred_at,
        )
        if self._rng.random() < 0.5:  # noqa: PLR2004  (half at once)
            yield again
        else:
            later = self._sent + self._rng.randrange(5, DUPLICATE_DISTANCE)
            heapq.heappush(self._again, (later, self._sent, again))

    def _broken(self) -> Record:
        self._broken_left -= 1
        for _ in REASONS:
            reason = self._reasons.popleft()
            self._reasons.append(reason)
            if reason is Reason.CONFLICTING_EVENT_ID:
                if self._conflictable and self._sent - self._conflictable[0][0] >= self._conflict_distance:
                    return self._conflicting()
                continue
            types, spoil = SPOILERS[reason]
            found = [t for t in types if t in self._examples]
            if found:
                example = self._examples[self._rng.choice(found)]
                return _to_broken(example, spoil(example.value, self._rng), reason)
        # One kind of event is always there, and every record can be cut short.
        example = next(iter(self._examples.values()))
        return _to_broken(example, example.value[:-1], Reason.NOT_JSON)

    def _conflicting(self) -> Record:
        _, first = self._conflictable.popleft()
        broken = _to_broken(first, make_conflicting(first.value), Reason.CONFLICTING_EVENT_ID)
        # The same way as the first, or it could overtake it; a log line's own key would be another hash.
        broken.partition_key = first.partition_key
        return broken


def spoil_events(
    events: Iterator[Event],
    flaws: Flaws,
    *,
    rng: random.Random,
    facts: int,
    span: float,
    end: float,
    clock: Callable[[], datetime] | None = None,
) -> Iterator[Record]:
    """Turn a shop's events into records, with what goes wrong on the way.

    Args:
        events: in the order they happened.
        flaws: how much goes wrong.
        rng: for the draws.
        facts: the number of events.
        span: length of the history in seconds; none comes later than a quarter of it.
        end: of the history, seconds since 1970.
        clock: for live events: each happens when it is asked for (late ones: before); else as the shop says.

    Returns:
        `facts + flaws.duplicates + flaws.broken` records.
    """
    return _Spoiler(flaws, rng=rng, facts=facts, span=span, end=end, clock=clock).run(events)


def _to_record(event: Event) -> Record:
    event_type = event_type_of(type(event))
    value = _encode(event)
    key = event.customer_id or event.anonymous_id or getattr(event, "product_id", None)
    return Record(
        stream=STREAM_OF_TYPE[event_type],
        value=value,
        partition_key=key or partition_key_of(value),
        event_id=str(event.event_id),
        event_type=event_type,
        occurred_at=event.occurred_at,
    )


def _to_broken(example: Record, value: bytes, reason: Reason) -> Record:
    try:
        fields = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = None
    if not isinstance(fields, dict):
        fields = {}
    return Record(
        stream=example.stream,
        value=value,
        partition_key=partition_key_of(value),
        kind="broken",
        event_id=fields.get("event_id"),
        event_type=fields.get("event_type"),
        reason=reason,
    )
