"""Crashes, replays and stale workers: nothing is lost, doubled or brought back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import NOON, minutes, visitor_event
from hypothesis import given, settings
from hypothesis import strategies as st
from session_reference import reference
from session_world import MIDNIGHT, World, cut, events_of_visitors

from processors.sessions.keys import day_key
from streams.engine.batch import Output
from streams.engine.changelog import Change
from streams.engine.runner import packed_changes
from streams.engine.table import pack
from streams.facts import VisitorEvent
from streams.silver import REVISION, Revision
from streams.topics import SILVER_SESSIONS

Events = list[VisitorEvent]
DAY = 20_514
FIRST, SECOND = day_key("v", DAY - 1), day_key("v", DAY)


def torn(folder: Path, events: Events, end: int, at_step: int, survivors: set[bytes]) -> World:
    """Work all but the last batch, crash in the last while only the given keys of a step survive."""
    world = World(events, folder)
    for start in range(end):
        world.work(start, start + 1)

    def survives(sent: Sequence[Any]) -> Sequence[Any]:
        return [one for one in sent if one[0] in survivors]

    world.work_and_crash(end, len(events), lambda _: at_step, survives)
    return world


@pytest.mark.parametrize(
    "survivors", [{FIRST}, {SECOND}, {FIRST, SECOND}, set()], ids=["first", "second", "both", "none"]
)
@pytest.mark.parametrize("at_step", [0, 1, 2])
@pytest.mark.parametrize("local", ["lost", "kept"])
def test_a_session_that_moves_over_midnight_is_whole_whatever_part_of_it_was_written(
    tmp_path: Path, survivors: set[bytes], at_step: int, local: str
) -> None:
    events = [visitor_event(1, MIDNIGHT + minutes(5)), visitor_event(2, MIDNIGHT - minutes(5))]
    world = torn(tmp_path, events, 1, at_step, survivors)
    world.restart(local=local)
    world.work(1, 2)
    world.close()
    assert world.silver.rows() == reference(events)


def test_the_day_that_loses_a_session_is_written_after_the_day_that_gains_it(tmp_path: Path) -> None:
    world = World(
        [visitor_event(1, MIDNIGHT + minutes(5)), visitor_event(2, MIDNIGHT - minutes(5))], tmp_path
    )
    world.work(0, 1)
    result, _ = world.computed(1, 2)
    written = [set(step.changes) & {FIRST, SECOND} for step in result.steps()]
    assert written == [{SECOND}, {FIRST}, {SECOND}]  # the way back, the gain, the loss
    world.close()


def test_a_remainder_is_dropped_when_it_is_met(tmp_path: Path) -> None:
    """What the second day held before survives a crash; an event after it must not count it twice."""
    events = [
        visitor_event(1, MIDNIGHT + minutes(5)),
        visitor_event(2, MIDNIGHT - minutes(5)),
        visitor_event(3, MIDNIGHT + minutes(6)),
    ]
    world = torn(tmp_path, events[:2], 1, 1, {FIRST})
    world.restart(local="lost")
    world.values = World(events, tmp_path / "values").values
    world.work(1, 3)
    world.close()
    assert world.silver.rows() == reference(events)


def test_sessions_within_the_gap_of_each_other_are_joined_when_they_meet(tmp_path: Path) -> None:
    """No crash of ours leaves that: but a state that has it is made one all the same."""
    before, after = visitor_event(1, MIDNIGHT - minutes(10)), visitor_event(2, MIDNIGHT + minutes(10))
    between = visitor_event(3, MIDNIGHT)
    world, other = World([before, after, between], tmp_path / "a"), World([after], tmp_path / "b")
    world.work(0, 1)
    other.work(0, 1)
    world.table.apply({SECOND: pack(Revision(7, 1), other.table.get(SECOND) or b"")})
    world.work(2, 3)
    assert world.silver.rows() == reference([before, after, between])
    world.close()
    other.close()


@pytest.mark.parametrize("survivors", ["all", "none", "state"])
@pytest.mark.parametrize("at_step", [0, 1, 2])
def test_the_ledger_tells_what_an_event_did_the_first_time(
    tmp_path: Path, at_step: int, survivors: str
) -> None:
    """Were the state known before the ledger, a replay would find the event and have nothing to tell."""
    late = visitor_event(3, NOON + minutes(25), is_late=True, lateness_seconds=3600.0)
    world = World([visitor_event(1, NOON), visitor_event(2, NOON + minutes(50)), late], tmp_path)
    world.work(0, 2)

    def survives(sent: Sequence[Any]) -> Sequence[Any]:
        return [
            one
            for one in sent
            if survivors == "all" or (survivors == "state" and not isinstance(one, Output))
        ]

    world.work_and_crash(2, 3, lambda _: at_step, survives)
    world.restart(local="lost")
    world.work(2, 3)
    world.close()
    assert world.silver.late == {late.event_id: "joined_sessions"}


@given(
    events=st.sampled_from([2, 24]).flatmap(lambda h: events_of_visitors(max_size=15, hours=h)),
    data=st.data(),
)
def test_a_crash_anywhere_and_a_replay_from_anywhere_give_the_same_sessions(
    events: Events, data: st.DataObject, new_folder: Callable[[], Path]
) -> None:
    """Of what was not acknowledged any part survives; the local copy is lost, kept, or older."""
    shuffled = data.draw(st.permutations(events + events[:3]))
    world = World(shuffled, new_folder())

    def survives(sent: Sequence[Any]) -> Sequence[Any]:
        return [one for one in sent if data.draw(st.booleans())]

    at, crashes = 0, 0
    while at < len(shuffled):
        end = data.draw(st.integers(at + 1, len(shuffled)))
        if crashes < 4 and data.draw(st.booleans()):
            crashes += 1
            world.work_and_crash(at, end, lambda steps: data.draw(st.integers(0, steps)), survives)
            if data.draw(st.booleans()):
                world.changelog.compact()
            world.restart(local=data.draw(st.sampled_from(["lost", "kept"])))
            at = data.draw(st.integers(0, at))
        else:
            world.work(at, end)
            at = end
            if data.draw(st.booleans()):
                world.mark_position()
    world.close()
    assert world.silver.rows() == reference(shuffled)
    assert set(world.silver.late) == {event.event_id for event in events if event.is_late}


@settings(max_examples=settings().max_examples // 3)
@given(events=events_of_visitors(max_size=20, hours=2), data=st.data())
def test_a_stale_worker_never_brings_a_replaced_session_back(
    events: Events, data: st.DataObject, new_folder: Callable[[], Path]
) -> None:
    """It lost its partition without noticing: it goes on from where it was, and all it writes comes late."""
    batches = cut(events, data.draw(st.lists(st.integers(0, 1000), min_size=1, max_size=6)))
    ends = [sum(len(b) for b in batches[: i + 1]) for i in range(len(batches))]
    world = World(events, new_folder())
    stale = World(events, new_folder())
    lost_at = data.draw(st.integers(0, len(ends) - 1))
    written: list[tuple[list[Output], list[Change]]] = []
    start = 0
    for i, end in enumerate(ends):
        world.work(start, end)
        if i < lost_at:
            stale.work(start, end)
        elif i < len(ends) - 1:  # its own cut of the input, never as far as the owner
            result, revision = stale.computed(start, data.draw(st.integers(start + 1, end)))
            for step in result.steps():
                changes = [Change(*item) for item in packed_changes(step, revision).items()]
                written.append((step.outputs, changes))
            stale.work(start, end)
        start = end
    for outputs, changes in written:
        world.silver.take(outputs)
        world.changelog.records += changes
    world.restart(local=data.draw(st.sampled_from(["lost", "kept"])))
    more = visitor_event(77_777, MIDNIGHT + minutes(1), visitor_id="a")
    world.values += World([more], new_folder()).values
    world.work(len(events), len(events) + 1)
    assert world.silver.rows() == reference([*events, more])
    world.close()
    stale.close()


def test_a_stale_tombstone_does_not_empty_a_day(tmp_path: Path) -> None:
    world = World([visitor_event(1, NOON), visitor_event(2, NOON)], tmp_path)
    world.work(0, 2)
    tombstone = Output(SILVER_SESSIONS, b"v|2026-03-01", None, [(REVISION, b"7:0")])
    world.silver.take([tombstone])
    assert world.silver.rows() == reference([visitor_event(1, NOON), visitor_event(2, NOON)])
    world.close()
