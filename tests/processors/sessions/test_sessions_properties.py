"""Whatever way events come, sessions are what sorting and cutting all of them gives."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from session_reference import reference
from session_world import World, cut, events_of_visitors, silver_of

from streams.facts import VisitorEvent

Events = list[VisitorEvent]
CUTS = st.lists(st.integers(0, 1000), max_size=8)


@given(events=events_of_visitors(), data=st.data())
def test_any_order_any_repetition_and_any_batches_give_the_same_sessions(
    events: Events, data: st.DataObject
) -> None:
    repeated = events + data.draw(st.lists(st.sampled_from(events), max_size=15))
    shuffled = data.draw(st.permutations(repeated))
    assert silver_of(cut(shuffled, data.draw(CUTS))).rows() == reference(events)


@given(events=events_of_visitors(max_size=30), data=st.data())
def test_any_interleaving_of_sources_gives_the_same_sessions(events: Events, data: st.DataObject) -> None:
    """Each source is in order, and one may be far behind the other."""
    sources: list[Events] = [[], [], []]
    for event in sorted(events, key=lambda e: e.occurred_at):
        sources[data.draw(st.integers(0, 2))].append(event)
    arrived = []
    while any(sources):
        arrived.append(data.draw(st.sampled_from([s for s in sources if s])).pop(0))
    assert silver_of(cut(arrived, data.draw(CUTS))).rows() == reference(events)


@given(events=events_of_visitors(max_size=15, visitors="a", hours=2), data=st.data())
def test_a_crash_anywhere_and_a_replay_from_anywhere_give_the_same_sessions(
    events: Events, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of what was not acknowledged any part survives; the local copy is lost, kept, or older."""
    shuffled = data.draw(st.permutations(events + events[:3]))
    world = World(shuffled, tmp_path_factory.mktemp("world"))

    def survives(sent: Sequence[Any]) -> Sequence[Any]:
        return [one for one in sent if data.draw(st.booleans())]

    at, crashes = 0, 0
    while at < len(shuffled):
        end = data.draw(st.integers(at + 1, len(shuffled)))
        if crashes < 4 and data.draw(st.booleans()):
            crashes += 1
            world.work_and_crash(at, end, lambda steps: data.draw(st.integers(0, steps)), survives)
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
