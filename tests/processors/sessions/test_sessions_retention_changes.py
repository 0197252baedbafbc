"""A retention that changes loses nothing and counts nothing twice; a rebuild opens again what was closed."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NOON, visitor_event
from hypothesis import given
from hypothesis import strategies as st
from session_reference import GAP, reference
from session_world import NOW, World

from processors.sessions.clock import SETTLED_AFTER_SECONDS
from processors.sessions.keys import CLOCK_KEY
from processors.sessions.stage import SessionsStage
from streams.engine.batch import Output
from streams.engine.offline import OfflineEngine
from streams.facts import VisitorEvent, encode_fact
from streams.topics import CLEAN_EVENTS

Events = list[VisitorEvent]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SETTLED = timedelta(seconds=SETTLED_AFTER_SECONDS)


def of_days(days: int) -> timedelta:
    """Give a retention."""
    return days * DAY


def change(world: World, retention: timedelta | None) -> None:
    world.stage = SessionsStage(GAP, retention)


def old_day_and_new() -> Events:
    """Three sessions of 30 days ago, what closes their day, more of today, and one more of that day."""
    olds = [visitor_event(n, NOON - 30 * DAY + 2 * n * HOUR) for n in range(3)]
    return [*olds, *(visitor_event(n, NOON) for n in range(3, 7)), visitor_event(7, NOON - 30 * DAY - HOUR)]


def counted(world: World, events: Sequence[VisitorEvent]) -> Events:
    """Give the events that are not listed as too old."""
    return [event for event in events if world.silver.late.get(event.event_id) != "beyond_retention"]


def work_until_it_has_expired(world: World) -> None:
    """Work events 0 to 6, so slowly that what is closed is gone."""
    world.work(0, 4)
    for start in (4, 5, 6):
        world.now += SETTLED
        world.work(start, start + 1)
    assert len(world.table.keys_below(CLOCK_KEY, 10)) == 1


def test_a_longer_retention_does_not_open_days_whose_state_is_gone(tmp_path: Path) -> None:
    """Else one old event would make the day anew, and the sink would put it in the place of the whole day."""
    events = old_day_and_new()
    world = World(events, tmp_path, retention=of_days(10))
    work_until_it_has_expired(world)
    change(world, of_days(60))
    world.restart(local="lost")
    world.work(7, 8)
    world.close()
    assert world.silver.late == {events[7].event_id: "beyond_retention"}
    assert world.silver.rows() == reference(events[:7])


def test_no_retention_does_not_open_days_whose_state_is_gone_either(tmp_path: Path) -> None:
    events = old_day_and_new()
    world = World(events, tmp_path, retention=of_days(10))
    work_until_it_has_expired(world)
    change(world, None)
    world.work(7, 8)
    world.close()
    assert world.silver.rows() == reference(events[:7])


def test_a_longer_retention_opens_days_whose_state_is_there(tmp_path: Path) -> None:
    events = old_day_and_new()
    world = World(events, tmp_path, retention=of_days(10))
    world.work(0, 7)
    change(world, of_days(60))
    world.restart(local="kept")
    for _ in range(3):  # that it was closed once does not let it expire
        world.now += SETTLED
        world.work(6, 7)
    world.work(7, 8)
    world.close()
    assert not world.silver.late
    assert world.silver.rows() == reference(events)


@pytest.mark.parametrize("crash_at", [4, 5, 6])
def test_what_is_deleted_first_is_the_bound_of_what_may_be_gone(tmp_path: Path, crash_at: int) -> None:
    """A crash that leaves only deletions of a batch, and a longer retention after it."""
    events = old_day_and_new()
    world = World(events, tmp_path, retention=of_days(10))
    world.work(0, 4)
    for start in range(4, crash_at):
        world.now += SETTLED
        world.work(start, start + 1)
    world.now += SETTLED
    world.work_and_crash(
        crash_at, crash_at + 1, lambda _: 0, lambda sent: [one for one in sent if one[1] is None]
    )
    change(world, of_days(60))
    world.restart(local="lost")
    world.work(crash_at, 8)
    world.close()
    assert world.silver.rows() == reference(counted(world, events))


def test_a_shorter_retention_lets_nothing_expire_that_a_replay_may_bring(tmp_path: Path) -> None:
    events = [visitor_event(1, NOON), visitor_event(2, NOON), visitor_event(3, NOON - 30 * DAY)]
    world = World(events, tmp_path, retention=of_days(60))
    world.work(0, 1)
    world.now += SETTLED
    world.work(1, 2)
    world.work(2, 3)
    change(world, of_days(10))
    world.restart(local="kept")
    for start in (1, 2, 1, 2):
        world.work(start, start + 1)
    world.close()
    assert not world.silver.late
    assert world.silver.rows() == reference(events)


def test_a_replay_that_takes_long_finds_all_that_it_brings(tmp_path: Path) -> None:
    events = [*(visitor_event(n, NOON) for n in range(4)), visitor_event(4, NOON - 30 * DAY)]
    world = World(events, tmp_path, retention=of_days(60))
    for start in range(5):
        world.work(start, start + 1)
    change(world, of_days(10))
    for start in range(5):
        world.work(start, start + 1)
        world.now += SETTLED
    world.close()
    assert not world.silver.late
    assert world.silver.rows() == reference(events)


def test_a_rebuild_opens_what_the_retention_had_closed_and_live_work_goes_on(tmp_path: Path) -> None:
    """Its clock bounds nothing, however often it would have let days expire."""
    events = old_day_and_new()
    now = NOW
    engine = OfflineEngine(
        [SessionsStage(GAP, None)], {}, partitions=1, folder=tmp_path / "r", epoch=8, clock=lambda: now
    )
    for event in events[:7]:
        engine.feed(CLEAN_EVENTS, Output(CLEAN_EVENTS, b"v", encode_fact(event)))
        engine.drain()
        now += SETTLED
    world = World(events, tmp_path / "w", retention=of_days(10))
    work_until_it_has_expired(world)
    change(world, of_days(60))
    world.rebuilt(engine.states(), epoch=8)
    engine.close()
    world.now = now
    world.work(7, 8)
    assert not world.silver.late
    assert world.silver.rows() == reference(events)
    change(world, of_days(10))
    for _ in range(4):  # and what is too old for the live retention goes
        world.values.append(encode_fact(visitor_event(len(world.values), NOON)))
        world.now += SETTLED
        world.work(len(world.values) - 1, len(world.values))
    assert len(world.table.keys_below(CLOCK_KEY, 10)) == 1
    world.close()


RETENTIONS = [of_days(5), of_days(15), of_days(25), None]


def of_few_days(draw: random.Random) -> Events:
    """Events about noon of few days, the newest first: no session is cut because its first day is closed."""
    places = [
        (0, 0, "a"),
        *((10 * draw.randrange(4), draw.randrange(8), draw.choice("ab")) for _ in range(40)),
    ]
    return [
        visitor_event(n, NOON - age * DAY + hours * HOUR, visitor_id=visitor)
        for n, (age, hours, visitor) in enumerate(places, start=1)
    ]


@given(seed=st.integers(0, 2**32))
def test_any_changes_of_the_retention_leave_sessions_of_all_events_that_are_not_listed(
    seed: int, new_folder: Callable[[], Path]
) -> None:
    """With restarts in between, and replays of what was not committed."""
    draw = random.Random(seed)  # what is drawn evenly finds more here than the shortest examples do
    events, retention = of_few_days(draw), draw.choice(RETENTIONS)
    world = World(events, new_folder(), retention=retention)
    at = committed = furthest = 0
    while at < len(events):
        if draw.random() < 0.15:
            before, retention = retention, draw.choice(RETENTIONS)
            if _is_longer(retention, before):
                # Else what was listed would be merged by its replay, and be both.
                committed = at = furthest
            change(world, retention)
            world.restart(local=draw.choice(["lost", "kept"]))
            at = committed = draw.randint(committed, at)
        else:
            end = min(at + draw.randint(1, 3), len(events))
            world.work(at, end)
            at, furthest = end, max(furthest, end)
            if draw.random() < 0.5:
                committed = at
                world.now += SETTLED
    world.close()
    assert world.silver.rows() == reference(counted(world, events))


def _is_longer(retention: timedelta | None, than: timedelta | None) -> bool:
    return than is not None and (retention is None or retention > than)


def test_one_wrong_instant_of_arrival_does_not_close_the_past(tmp_path: Path) -> None:
    """A foreign producer sets the timestamp of its records, which says when they arrived."""
    wrong = visitor_event(1, NOON.replace(year=2038))
    events = [wrong, *(visitor_event(2 + age, NOON - age * DAY) for age in range(10))]
    world = World(events, tmp_path, retention=of_days(10))
    world.now = NOON
    for start in range(len(events)):
        world.work(start, start + 1)
    world.close()
    assert not world.silver.late
    assert world.silver.rows() == reference(events)


def test_a_clock_five_minutes_slow_does_not_matter(tmp_path: Path) -> None:
    """Other machines say when an event arrived; theirs may be ahead of this one's."""
    ahead = visitor_event(1, NOON)
    events = [ahead, visitor_event(2, NOON - 11 * DAY)]
    for slow, late in ((timedelta(minutes=5), 1), (timedelta(minutes=5, milliseconds=1), 0)):
        world = World(events, tmp_path / str(late), retention=of_days(10))
        world.now = NOON - slow
        world.work(0, 2)
        world.close()
        assert len(world.silver.late) == late


def test_one_wrong_instant_of_arrival_does_not_close_the_past_after_a_rebuild(tmp_path: Path) -> None:
    engine = OfflineEngine(
        [SessionsStage(GAP, None)], {}, partitions=1, folder=tmp_path / "r", epoch=8, clock=lambda: NOON
    )
    wrong, old = visitor_event(1, NOON.replace(year=2038)), visitor_event(2, NOON - DAY)
    engine.feed(CLEAN_EVENTS, Output(CLEAN_EVENTS, b"v", encode_fact(wrong)))
    engine.drain()
    world = World([old], tmp_path / "w", retention=of_days(10))
    world.rebuilt(engine.states(), epoch=8)
    engine.close()
    world.work(0, 1)
    world.close()
    assert not world.silver.late
