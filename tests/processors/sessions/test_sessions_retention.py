"""What is older than the retention leaves sessions alone, is listed, and its state goes."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import NOON, minutes, visitor_event
from hypothesis import given, settings
from hypothesis import strategies as st
from session_reference import reference
from session_world import World, cut, silver_of

from processors.sessions.clock import SETTLED_AFTER_SECONDS
from processors.sessions.keys import CLOCK_KEY, day_bound
from streams.facts import VisitorEvent

Events = list[VisitorEvent]
DAY = timedelta(days=1)
TEN_DAYS = timedelta(days=10)
SETTLED = timedelta(seconds=SETTLED_AFTER_SECONDS)


def ages(*days: float) -> Events:
    """One event for each age in days, in this order."""
    return [visitor_event(n, NOON - age * DAY) for n, age in enumerate(days, start=1)]


def test_an_event_behind_the_retention_is_listed_and_in_no_session() -> None:
    events = ages(0, 10, 11)
    silver = silver_of([events], retention=TEN_DAYS)
    assert silver.rows() == reference(events[:2])
    assert silver.late == {events[2].event_id: "beyond_retention"}


def test_without_a_retention_every_event_counts() -> None:
    events = ages(0, 20_000)
    silver = silver_of([events])
    assert silver.rows() == reference(events)
    assert not silver.late


def test_whole_days_are_retained() -> None:
    """The clock's day and the ten before it, from their midnights on."""
    first = NOON.replace(hour=0) - TEN_DAYS
    inside, outside = visitor_event(2, first), visitor_event(3, first - timedelta(microseconds=1))
    silver = silver_of([[visitor_event(1, NOON), inside, outside]], retention=TEN_DAYS)
    assert silver.late == {outside.event_id: "beyond_retention"}
    assert sorted(row["started_at"] for row in silver.rows().values()) == [first, NOON]


def test_a_part_of_a_day_of_retention_counts_as_a_day() -> None:
    silver = silver_of([ages(0, 10, 11)], retention=timedelta(days=9, seconds=1))
    assert list(silver.late.values()) == ["beyond_retention"]


def test_an_event_far_ahead_of_its_arrival_does_not_move_the_clock() -> None:
    ahead, near = visitor_event(1, NOON + 20 * DAY), visitor_event(2, NOON + 20 * DAY)
    ahead.arrived_at = ahead.occurred_at - minutes(5) - timedelta(milliseconds=1)
    near.arrived_at = near.occurred_at - minutes(5)
    old = visitor_event(3, NOON)
    assert not silver_of([[ahead, old]], retention=TEN_DAYS).late
    assert silver_of([[near, old]], retention=TEN_DAYS).late


def test_the_clock_never_goes_back() -> None:
    events = ages(0, 5, 3, 10.9, 11)
    assert list(silver_of([[event] for event in events], retention=TEN_DAYS).late) == [
        events[3].event_id,
        events[4].event_id,
    ]


def test_lateness_beyond_the_retention_counts_from_the_clock(tmp_path: Path) -> None:
    world = World(ages(0, 100), tmp_path, retention=TEN_DAYS)
    result, _ = world.computed(0, 2)
    (late,) = [output for output in result.outputs if b"beyond_retention" in (output.value or b"")]
    assert b'"lateness_seconds":8640000.0' in (late.value or b"")
    assert b'"arrived_at":"2025-11-21T12:00:00Z"' in (late.value or b"")
    world.close()


def test_an_old_event_that_a_session_has_is_not_listed() -> None:
    """Sent twice, or replayed: it counts already."""
    events = ages(20, 0)
    assert not silver_of([events, events], retention=TEN_DAYS).late
    assert silver_of([events, events], retention=TEN_DAYS).rows() == reference(events)


def test_a_session_that_began_before_the_retention_is_closed() -> None:
    """What follows it within the gap begins a session of its own."""
    midnight = NOON.replace(hour=0) - 10 * DAY
    before, after = visitor_event(1, midnight - minutes(5)), visitor_event(2, midnight + minutes(5))
    late = visitor_event(4, midnight + minutes(10))
    silver = silver_of([[before, after], [visitor_event(3, NOON)], [late]], retention=TEN_DAYS)
    lengths = {row["started_at"]: row["events"] for row in silver.rows().values()}
    assert lengths == {before.occurred_at: 2, late.occurred_at: 1, NOON: 1}


def keys_of_days(world: World) -> list[bytes]:
    return world.table.keys_below(CLOCK_KEY, 10_000)


def test_state_expires_when_what_closed_it_is_beyond_replays(tmp_path: Path) -> None:
    world = World(ages(30, 25, 20, 5, 0, -1, -2, -3), tmp_path, retention=TEN_DAYS)
    world.work(0, 5)
    world.work(5, 6)
    assert len(keys_of_days(world)) == 6
    world.now += SETTLED
    world.work(6, 7)  # where the clock stood is beyond replays from here on
    world.now += SETTLED
    world.work(7, 8)
    kept = keys_of_days(world)
    today = NOON.toordinal() - date(1970, 1, 1).toordinal()
    assert len(kept) == 5
    assert min(kept) >= day_bound(today - 10)
    world.restart(local="lost")
    assert keys_of_days(world) == kept
    world.close()


def test_a_replay_finds_what_has_been_closed_meanwhile(tmp_path: Path) -> None:
    """However long the worker was down: the batch that closed a day is not the one that lets it expire."""
    events = ages(10, 10, -5, -5)
    world = World(events, tmp_path, retention=TEN_DAYS)
    world.work(0, 4)
    for _ in range(3):
        world.now += 10 * SETTLED
        world.restart(local="kept")
        world.work(0, 4)
    world.close()
    assert world.silver.rows() == reference(events)
    assert not world.silver.late


@pytest.mark.parametrize("at_step", [0, 1])
def test_the_clock_closes_a_day_only_when_all_before_it_is_there(tmp_path: Path, at_step: int) -> None:
    """Else a replay would find its event too old, though the state has not got it."""
    events = ages(10, -5)
    world = World(events, tmp_path, retention=TEN_DAYS)
    world.work_and_crash(0, 2, lambda _: at_step, lambda sent: [one for one in sent if one[0] == CLOCK_KEY])
    world.restart(local="lost")
    world.work(0, 2)
    world.close()
    assert world.silver.rows() == reference(events)
    assert not world.silver.late


def test_a_batch_lets_a_bounded_number_of_keys_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.sessions.stage.EXPIRED_PER_BATCH", 2)
    world = World(ages(30, 29, 28, 27, 26, 0, 0, 0, 0, 0), tmp_path, retention=TEN_DAYS)
    left = []
    for start, end in ((0, 6), (6, 7), (7, 8), (8, 9), (9, 10)):
        world.now += SETTLED
        world.work(start, end)
        left.append(len(keys_of_days(world)))
    assert left == [6, 6, 4, 2, 1]
    world.close()


def old_and_new() -> st.SearchStrategy[Events]:
    """Events over weeks around midnights, so that the clock closes days in the middle of sessions."""
    one = st.tuples(st.integers(0, 30), st.integers(-3, 3), st.sampled_from("ab"))

    def build(drawn: list[tuple[int, int, str]]) -> Events:
        return [
            visitor_event(n, NOON.replace(hour=0) + days * DAY + minutes(10 * tens), visitor_id=visitor)
            for n, (days, tens, visitor) in enumerate(drawn, start=1)
        ]

    return st.lists(one, min_size=1, max_size=30).map(build)


@given(events=old_and_new(), data=st.data())
def test_any_batches_give_the_same_sessions_and_the_same_list(events: Events, data: st.DataObject) -> None:
    """Which events are too old depends on their order, but not on how the input is cut into batches."""
    whole = silver_of([events], retention=TEN_DAYS)
    parts = silver_of(cut(events, data.draw(st.lists(st.integers(0, 1000), max_size=8))), retention=TEN_DAYS)
    assert parts.rows() == whole.rows()
    beyond = {name for name, outcome in whole.late.items() if outcome == "beyond_retention"}
    assert {name for name, outcome in parts.late.items() if outcome == "beyond_retention"} == beyond


@settings(max_examples=settings().max_examples // 3)
@given(events=old_and_new(), data=st.data())
def test_after_crashes_each_event_is_counted_once_or_listed(
    events: Events, data: st.DataObject, new_folder: Callable[[], Path]
) -> None:
    world = World(events, new_folder(), retention=TEN_DAYS)

    def survives(sent: Sequence[Any]) -> Sequence[Any]:
        return [one for one in sent if data.draw(st.booleans())]

    at = committed = crashes = 0
    while at < len(events):
        end = data.draw(st.integers(at + 1, len(events)))
        if crashes < 3 and data.draw(st.booleans()):
            crashes += 1
            world.work_and_crash(at, end, lambda steps: data.draw(st.integers(0, steps)), survives)
            world.restart(local=data.draw(st.sampled_from(["lost", "kept"])))
            world.now += data.draw(st.sampled_from([timedelta(0), 2 * SETTLED]))
            at = committed = data.draw(st.integers(committed, at))  # what a restart begins with is committed
        else:
            world.work(at, end)
            at = end
            if data.draw(st.booleans()):
                committed = at
                world.now += data.draw(st.sampled_from([timedelta(0), 2 * SETTLED]))
    world.close()
    counted: Counter[str] = Counter()
    for key, (_, sessions) in world.silver.days.items():
        counted[key.partition(b"|")[0].decode()] += sum(row["events"] for row in sessions)
    listed = Counter(
        event.visitor_id for event in events if world.silver.late.get(event.event_id) == "beyond_retention"
    )
    assert counted + listed == Counter(event.visitor_id for event in events)
