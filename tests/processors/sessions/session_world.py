"""A partition as engine and sinks treat it: input, changelog, local state, what was sent, and crashes."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from builders import NOON, State, batch_of, event_id
from hypothesis import strategies as st
from session_reference import GAP, Rows

from processors.sessions.stage import SessionsStage
from streams.engine.batch import Output, Result
from streams.engine.changelog import Change, Chunk
from streams.engine.offline import StateEntry
from streams.engine.runner import packed_changes
from streams.engine.table import EPOCH_KEY, PartitionTable, epoch_record, pack
from streams.facts import VisitorEvent, encode_fact
from streams.silver import Revision, Session
from streams.topics import SILVER_LATE_EVENTS, SILVER_SESSIONS

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
NOW = NOON + timedelta(days=365)
"""The wall clock, behind all events."""
KINDS = [
    *("page_viewed", "product_viewed", "product_searched", "cart_added", "checkout_started"),
    *("purchase", "refund", "login"),
]
Keep = Callable[[Sequence[Any]], Sequence[Any]]


class Silver:
    """What sinks make of what was sent: the highest revision of a day stays, and of late rows the first."""

    def __init__(self) -> None:
        self.days: dict[bytes, tuple[Revision, list[dict[str, Any]]]] = {}
        self.late: dict[str, str] = {}

    def take(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if output.topic == SILVER_SESSIONS:
                self._take_day(output)
            elif output.topic == SILVER_LATE_EVENTS:
                said = json.loads(output.value or b"")
                self.late.setdefault(said["event_id"], said["outcome"])

    def _take_day(self, output: Output) -> None:
        ((_, header),) = output.headers
        revision = Revision.from_header(header)
        assert output.key is not None
        applied, _ = self.days.get(output.key, (Revision(0, 0), []))
        if revision >= applied:
            sessions = json.loads(output.value)["sessions"] if output.value else []
            self.days[output.key] = revision, sessions

    def sessions(self, key: str) -> list[dict[str, Any]]:
        return self.days[key.encode()][1]

    def rows(self) -> Rows:
        found: Rows = {}
        for _, sessions in self.days.values():
            for said in sessions:
                session = msgspec.convert(said, Session)
                assert session.session_id not in found, "one session on two days"
                found[session.session_id] = msgspec.structs.asdict(session)
        return found


class Changelog:
    """A changelog partition as the broker keeps it."""

    def __init__(self) -> None:
        self.records: list[Change] = []

    def bounds(self) -> tuple[int, int]:
        return 0, len(self.records)

    def read(self, start: int) -> Iterator[Chunk]:
        yield Chunk(self.records[start:], len(self.records))

    def compact(self) -> None:
        """Keep the last record of each key; it also stands where others were, so that offsets stay."""
        last = {record.key: record for record in self.records}
        self.records = [last[record.key] for record in self.records]


class World:
    """One partition, worked on by one worker at a time; `crash` ends it anywhere."""

    def __init__(
        self, events: Sequence[VisitorEvent], folder: Path, *, retention: timedelta | None = None
    ) -> None:
        self.values = [encode_fact(event) for event in events]
        self.folder = folder
        self.stage = SessionsStage(GAP, retention)
        self.changelog, self.silver = Changelog(), Silver()
        self.now = NOW
        self._copies = 0
        self.table = self._opened()

    def _opened(self) -> PartitionTable:
        table = PartitionTable(self.folder / str(self._copies), self.changelog, now_ms=lambda: 7)
        table.recover()
        if table.new_epoch is not None:
            self.changelog.records.append(Change(EPOCH_KEY, table.new_epoch))
            table.apply({EPOCH_KEY: table.new_epoch})
        return table

    def restart(self, *, local: str) -> None:
        """Begin again with the local copy `lost` or `kept`."""
        self.table.close()
        if local == "lost":
            self._copies += 1
        self.table = self._opened()

    def rebuilt(self, entries: Iterable[StateEntry], epoch: int) -> None:
        """Begin again, without a local copy, with a state that `pipeline rebuild` has published."""
        revision = Revision(epoch, 0)
        self.changelog.records += [Change(entry.key, pack(revision, entry.value)) for entry in entries]
        self.changelog.records.append(Change(EPOCH_KEY, epoch_record(epoch, {})))
        self.restart(local="lost")

    def computed(self, start: int, end: int) -> tuple[Result, Revision]:
        batch = batch_of(self.stage.topic, self.values[start:end], start)
        revision = Revision(self.table.epoch, batch.next - 1)
        return self.stage.process(batch, self.table, revision, self.now), revision

    def work(self, start: int, end: int) -> None:
        """Work a batch through, as the engine does."""
        result, revision = self.computed(start, end)
        for step in result.steps():
            self._send(step, revision)

    def work_and_crash(self, start: int, end: int, step_of: Callable[[int], int], survives: Keep) -> None:
        """Work a batch until a step is sent, of which any part survives and none is acknowledged.

        Args:
            start: of the batch.
            end: of the batch.
            step_of: choose the step, given how many there are; beyond the last: only the commit is lost.
            survives: chooses what of that step the broker has.
        """
        result, revision = self.computed(start, end)
        steps = list(result.steps())
        at_step = step_of(len(steps))
        for step in steps[:at_step]:
            self._send(step, revision)
        if at_step < len(steps):
            torn = steps[at_step]
            self.silver.take(survives(torn.outputs))
            changes = survives(list(packed_changes(torn, revision).items()))
            self.changelog.records += [Change(*item) for item in changes]

    def mark_position(self) -> None:
        self.table.mark_position()

    def _send(self, step: Result, revision: Revision) -> None:
        self.silver.take(step.outputs)
        changes = packed_changes(step, revision)
        self.changelog.records += [Change(*item) for item in changes.items()]
        self.table.apply(changes)

    def close(self) -> None:
        self.table.close()


def silver_of(
    batches: Iterable[Iterable[VisitorEvent]], *, retention: timedelta | None = None, gap: timedelta = GAP
) -> Silver:
    """Run batches, one after the other, on state in memory."""
    stage, state, silver, start = SessionsStage(gap, retention), State(), Silver(), 0
    for events in batches:
        batch = batch_of(stage.topic, [encode_fact(event) for event in events], start)
        start = batch.next
        for step in stage.process(batch, state, Revision(1, batch.next - 1), NOW).steps():
            silver.take(step.outputs)
            state.take(step.changes)
            state.take(dict.fromkeys(step.expired))
    return silver


def cut(events: Sequence[VisitorEvent], at: Iterable[int]) -> list[Sequence[VisitorEvent]]:
    """Cut a sequence before the given places."""
    places = [0, *sorted({place % (len(events) + 1) for place in at}), len(events)]
    return [events[a:b] for a, b in pairwise(places) if a < b]


def events_of_visitors(
    max_size: int = 40, visitors: str = "ab", hours: int = 24
) -> st.SearchStrategy[list[VisitorEvent]]:
    """Events around a midnight: steps of exactly the gap and a millisecond more, equal instants, all kinds.

    Args:
        max_size: how many events.
        visitors: whose.
        hours: how far from it, in both directions.
    """
    one = st.tuples(
        st.integers(-hours * 6, hours * 6),
        st.sampled_from([0, 0, 0, 1, -1]),
        st.sampled_from(visitors),
        st.sampled_from(KINDS),
        st.booleans(),
        st.integers(0, 7),
    )

    def build(drawn: list[tuple[int, int, str, str, bool, int]]) -> list[VisitorEvent]:
        # Ids that do not sort as the events were made.
        return [_event(event_id(n * 7919 % 10007), one) for n, one in enumerate(drawn, start=1)]

    return st.lists(one, min_size=1, max_size=max_size).map(build)


def _event(identity: str, drawn: tuple[int, int, str, str, bool, int]) -> VisitorEvent:
    tens, ms, visitor, kind, has_page, more = drawn
    at = MIDNIGHT + timedelta(minutes=10 * tens, milliseconds=ms)
    money = Decimal(more * 125) / 100 if kind in ("purchase", "refund") else None
    return VisitorEvent(
        event_id=identity,
        event_type=kind,
        occurred_at=at,
        arrived_at=at,
        content_hash=1,
        visitor_id=visitor,
        customer_id=visitor if visitor == "b" else None,
        page_url=f"/{identity[-4:]}" if has_page else None,
        channel=("direct", "email")[more % 2],
        campaign=f"c{more}",
        country="DE" if has_page else None,
        is_bot=more == 7,
        amount_base=money,
        is_late=more % 3 == 0,
        lateness_seconds=3600.0 if more % 3 == 0 else None,
    )
