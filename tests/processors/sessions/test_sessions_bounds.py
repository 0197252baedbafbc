"""What a session may cost, however many events it has: chunks of ids, overfull sessions, largest records."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import NOON, State, run, visitor_event
from hypothesis import given, settings
from hypothesis import strategies as st
from session_reference import GAP, reference
from session_world import MIDNIGHT, Silver, World, cut, events_of_visitors

from processors.sessions import days, ids, session
from processors.sessions.keys import day_bound, day_key
from processors.sessions.stage import SessionsStage
from streams.engine.batch import Result
from streams.engine.offline import FIRST_OFFSET
from streams.facts import VisitorEvent
from streams.topics import MAX_MESSAGE_BYTES, SILVER_SESSIONS

Events = list[VisitorEvent]
SECOND = timedelta(seconds=1)


class Partition:
    """A stage with its state and what the sinks make of it; batches come one behind the other."""

    def __init__(self) -> None:
        self.stage, self.state, self.silver = SessionsStage(GAP, None), State(), Silver()
        self.next = 0

    def take(self, events: Sequence[VisitorEvent], *, at: int | None = None) -> Result:
        """Work a batch, at an offset behind the last, or as a replay at another."""
        start = self.next if at is None else at
        result = run(self.stage, self.state, events, start)
        self.next = max(self.next, start + len(events))
        for step in result.steps():
            self.silver.take(step.outputs)
        return result

    def row(self) -> dict[str, Any]:
        (row,) = self.silver.rows().values()
        return row


def written(result: Result) -> int:
    """Give the bytes of a batch's changelog records, keys and values."""
    return sum(len(key) + len(value or b"") for step in result.steps() for key, value in step.changes.items())


def views(first: int, count: int) -> Events:
    return [visitor_event(n, NOON + n * SECOND) for n in range(first, first + count)]


def test_an_event_is_known_by_its_id_when_the_id_is_in_a_chunk() -> None:
    partition = Partition()
    events = views(0, 1300)
    for start in range(0, 1300, 100):
        partition.take(events[start : start + 100])
    for again in (0, 511, 512, 1023, 1024, 1299):
        partition.take([events[again]])
    partition.take(events)
    assert partition.row()["events"] == 1300
    assert sum(b"\x00" in key[4:] for key in partition.state) == 2


def test_a_chunk_is_written_before_the_session_that_no_longer_carries_its_ids() -> None:
    partition = Partition()
    partition.take(views(0, 511))
    first, second = partition.take(views(511, 1)).steps()
    (chunk,) = first.changes.values()
    record = second.changes[day_key("v", NOON.toordinal() - date(1970, 1, 1).toordinal())]
    assert chunk is not None
    assert record is not None
    assert len(chunk) == 512 * 8
    assert chunk[:8] not in record


def test_10_000_events_are_counted_exactly_and_one_more_is_an_approximate_runaway() -> None:
    partition = Partition()
    partition.take(views(0, 10_000))
    partition.take(views(0, 10_000))
    assert (partition.row()["events"], partition.row()["is_runaway"]) == (10_000, False)
    partition.take(views(10_000, 1))
    assert partition.row()["events"] == 10_001
    assert partition.row()["is_runaway"]
    assert partition.row()["events_approximate"]
    partition.take(views(0, 10_000))
    assert partition.row()["events"] == 10_001


def test_what_one_batch_repeats_is_known_although_the_batch_makes_the_session_overfull() -> None:
    """A join that fills it up comes first; an event at its end, sent again, is looked up after."""
    apart = [visitor_event(n, NOON + n * GAP) for n in (0, 2, 4)]
    many = [visitor_event(100 + n, NOON + GAP) for n in range(10_000)]
    partition = Partition()
    partition.take(apart)
    partition.take([*many, visitor_event(1, NOON + 3 * GAP), apart[2]])
    assert partition.row()["events"] == 10_004


def test_a_replay_into_an_overfull_session_is_not_counted_again() -> None:
    partition = Partition()
    events = views(0, 10_500)
    for start in range(0, 10_500, 1500):
        partition.take(events[start : start + 1500])
    assert partition.row()["events"] == 10_500
    for start in range(9_000, 10_500, 100):  # the same offsets, in other batches
        partition.take(events[start : start + 100], at=start)
    assert partition.row()["events"] == 10_500
    partition.take(views(10_500, 1))
    assert partition.row()["events"] == 10_501


def test_a_rebuild_counts_overfull_sessions_too_though_its_offsets_are_below_0() -> None:
    partition = Partition()
    partition.next = FIRST_OFFSET
    for start in range(0, 12_000, 1000):
        partition.take(views(start, 1000))
    assert partition.row()["events"] == 12_000
    partition.take(views(12_000, 5), at=0)  # the live pipeline goes on
    assert partition.row()["events"] == 12_005


def test_a_repetition_in_an_overfull_session_is_known_by_the_first_10_000_ids_only() -> None:
    partition = Partition()
    partition.take(views(0, 10_000))
    partition.take(views(10_000, 10))
    partition.take([*views(5_000, 1), *views(10_005, 1)])  # a producer's repetitions: new offsets
    assert partition.row()["events"] == 10_011


def test_a_batch_for_an_overfull_session_writes_little_however_many_events_it_has() -> None:
    partition = Partition()
    for start in range(0, 12_000, 1000):
        partition.take(views(start, 1000))
    writes = [written(partition.take(views(n, 1))) for n in range(12_000, 12_010)]
    assert max(writes) < 600


@contextmanager
def small_limits() -> Iterator[None]:
    """Chunks of two ids, and sessions that keep eight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "CHUNK_IDS", 2)
        patch.setattr(ids, "CHUNK_BYTES", 16)
        patch.setattr(days, "CHUNK_BYTES", 16)
        patch.setattr(ids, "KEPT_IDS", 8)
        patch.setattr(session, "KEPT_IDS", 8)
        yield


@given(events=events_of_visitors(max_size=40, visitors="a", hours=3), data=st.data())
def test_any_order_and_any_batches_give_the_same_overfull_sessions(
    events: Events, data: st.DataObject
) -> None:
    """With limits so small that most sessions pass them; repetitions are told apart below them only."""
    with small_limits():
        partition = Partition()
        places = data.draw(st.lists(st.integers(0, 1000), max_size=12))
        for batch in cut(data.draw(st.permutations(events)), places):
            partition.take(batch)
    assert partition.silver.rows() == reference(events, kept_ids=8)


@settings(max_examples=settings().max_examples // 3)
@given(events=events_of_visitors(max_size=25, visitors="a", hours=2), data=st.data())
def test_crashes_and_replays_count_nothing_twice_in_overfull_sessions(
    events: Events, data: st.DataObject, new_folder: Callable[[], Path]
) -> None:
    world = World(events, new_folder())

    def survives(sent: Sequence[Any]) -> Sequence[Any]:
        return [one for one in sent if data.draw(st.booleans())]

    with small_limits():
        at, crashes = 0, 0
        while at < len(events):
            end = data.draw(st.integers(at + 1, len(events)))
            if crashes < 3 and data.draw(st.booleans()):
                crashes += 1
                world.work_and_crash(at, end, lambda steps: data.draw(st.integers(0, steps)), survives)
                world.restart(local=data.draw(st.sampled_from(["lost", "kept"])))
                at = data.draw(st.integers(0, at))
            else:
                world.work(at, end)
                at = end
    world.close()
    assert world.silver.rows() == reference(events, kept_ids=8)


def widest(number: int, at_second: int) -> VisitorEvent:
    """An event with the longest texts that pass cleaning, of characters that JSON writes as six bytes."""
    url, campaign = "\x01" * 2048, "\x01" * 256
    return visitor_event(
        number,
        MIDNIGHT + at_second * SECOND,
        visitor_id="\x01" * 128,
        customer_id="\x01" * 128,
        page_url=url,
        referrer=url,
        campaign=campaign,
        channel="organic_search",
        country="DE",
        device="desktop",
        browser="\x01" * 1000,
        is_bot=True,
    )


def test_the_largest_day_of_one_visitor_is_far_from_the_limit_of_a_message() -> None:
    """A day has 48 sessions at most; each may carry up to 511 ids and name 20 chunks."""
    partition = Partition()
    step = int(GAP / SECOND) + 1
    for i in range(48):
        partition.take([widest(i, i * step)])
    result = partition.take([widest(900_000 + i, i * step) for i in range(48)])
    (day,) = [output for output in result.outputs if output.topic == SILVER_SESSIONS]
    assert day.value is not None
    assert day.value.count(b'"session_id"') == 48
    assert len(day.value) < 0.6 * MAX_MESSAGE_BYTES
    ids_and_names = 48 * (511 * 8 + 20 * 12)
    assert written(result) + ids_and_names < 0.6 * MAX_MESSAGE_BYTES


def test_a_typical_session_takes_250_bytes_and_8_an_event() -> None:
    def typical(number: int) -> VisitorEvent:
        return visitor_event(
            number,
            NOON + number * SECOND,
            visitor_id="customer-104729",
            customer_id="customer-104729",
            page_url="https://shop.example/products/1042",
            referrer="https://www.google.com/",
            channel="paid_search",
            campaign="spring-sale",
            country="DE",
            device="mobile",
            browser="Mobile Safari",
        )

    partition = Partition()
    partition.take([typical(n) for n in range(1, 41)])
    (size,) = [len(key) + len(value) for key, value in partition.state.items() if key < day_bound(2**30)]
    assert size <= 250 + 8 * 40
