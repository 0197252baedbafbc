"""Whatever way events come, sessions are what sorting and cutting all of them gives."""

from hypothesis import given
from hypothesis import strategies as st
from session_reference import reference
from session_world import cut, events_of_visitors, silver_of

from streams.facts import VisitorEvent

Events = list[VisitorEvent]
CUTS = st.lists(st.integers(0, 1000), max_size=8)


@given(events=st.sampled_from([2, 24]).flatmap(lambda h: events_of_visitors(hours=h)), data=st.data())
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
