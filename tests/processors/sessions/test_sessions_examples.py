"""Sessions: the rule, its edges, and that order, repetition and batches do not matter."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from builders import NOON, State, minutes, run, visitor_event
from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.stage import SessionsStage
from streams.engine.batch import Output
from streams.facts import VisitorEvent
from streams.topics import SILVER_LATE_EVENTS, SILVER_SESSIONS

GAP = timedelta(minutes=30)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)

Rows = dict[str, dict[str, Any]]


class Silver:
    """What a sink makes of `silver.sessions`: each record replaces the rows of its visitor and day."""

    def __init__(self) -> None:
        self.days: dict[bytes, list[dict[str, Any]]] = {}

    def take(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if output.topic == SILVER_SESSIONS:
                assert output.key is not None
                assert output.value is not None
                self.days[output.key] = json.loads(output.value)["sessions"]

    def rows(self) -> Rows:
        return {row["session_id"]: row for sessions in self.days.values() for row in sessions}


def sessions_of(*batches: Iterable[VisitorEvent]) -> Rows:
    stage, state, silver = SessionsStage(GAP, None), State(), Silver()
    for batch in batches:
        silver.take(run(stage, state, batch).outputs)
    return silver.rows()


def lengths(rows: Rows) -> list[int]:
    return sorted(row["events"] for row in rows.values())


def sort_and_cut(events: Iterable[VisitorEvent]) -> list[tuple[str, str, str, int, str]]:
    """The rule, written as it is said: an independent reference."""
    distinct = {e.event_id: e for e in events}
    groups: list[list[VisitorEvent]] = []
    for event in sorted(distinct.values(), key=lambda e: (e.visitor_id, e.occurred_at, e.event_id)):
        last = groups[-1][-1] if groups else None
        if last and last.visitor_id == event.visitor_id and event.occurred_at - last.occurred_at <= GAP:
            groups[-1].append(event)
        else:
            groups.append([event])
    return sorted(
        (
            g[0].occurred_at.isoformat(),
            g[-1].occurred_at.isoformat(),
            g[0].page_url or "",
            len(g),
            str(sum((e.amount_base or 0) for e in g)),
        )
        for g in groups
    )


def as_reference(rows: Rows) -> list[tuple[str, str, str, int, str]]:
    return sorted(
        (
            datetime.fromisoformat(row["started_at"]).isoformat(),
            datetime.fromisoformat(row["ended_at"]).isoformat(),
            row.get("landing_page") or "",
            row["events"],
            row.get("revenue_base", "0"),
        )
        for row in rows.values()
    )


def test_a_step_of_exactly_the_gap_still_belongs() -> None:
    rows = sessions_of([visitor_event(1, NOON), visitor_event(2, NOON + GAP)])
    assert lengths(rows) == [2]


def test_a_step_one_millisecond_over_the_gap_cuts() -> None:
    over = NOON + GAP + timedelta(milliseconds=1)
    assert lengths(sessions_of([visitor_event(1, NOON), visitor_event(2, over)])) == [1, 1]


def test_an_event_between_two_sessions_joins_them_into_one() -> None:
    early, late = visitor_event(1, NOON), visitor_event(2, NOON + minutes(50))
    assert lengths(sessions_of([early], [late])) == [1, 1]
    assert lengths(sessions_of([early], [late], [visitor_event(3, NOON + minutes(25))])) == [3]


def test_one_batch_can_join_three_sessions() -> None:
    apart = [visitor_event(i, NOON + minutes(50 * i)) for i in range(3)]
    between = [visitor_event(10 + i, NOON + minutes(50 * i + 25)) for i in range(2)]
    assert lengths(sessions_of(*[[e] for e in apart], between)) == [5]


def test_extending_backward_over_midnight_moves_the_session_to_the_day_before() -> None:
    stage, state, silver = SessionsStage(GAP, None), State(), Silver()
    silver.take(run(stage, state, [visitor_event(1, MIDNIGHT + minutes(5))]).outputs)
    silver.take(run(stage, state, [visitor_event(2, MIDNIGHT - minutes(5))]).outputs)
    assert silver.days[b"v|2026-03-02"] == []
    assert [row["events"] for row in silver.days[b"v|2026-03-01"]] == [2]


def test_a_session_over_several_days_is_found_from_each_of_them() -> None:
    long = [visitor_event(i, NOON + minutes(25 * i)) for i in range(60 * 60 // 25)]
    stage, state, silver = SessionsStage(GAP, None), State(), Silver()
    for i in range(0, len(long), 7):
        silver.take(run(stage, state, long[i : i + 7]).outputs)
    late = visitor_event(999, NOON + minutes(25 * 100 + 3))
    silver.take(run(stage, state, [late]).outputs)
    assert lengths(silver.rows()) == [len(long) + 1]
    assert all(row["is_runaway"] for row in silver.rows().values())


def test_a_replay_sends_the_emptied_day_again() -> None:
    stage, state = SessionsStage(GAP, None), State()
    run(stage, state, [visitor_event(1, MIDNIGHT + minutes(5))])
    moving = [visitor_event(2, MIDNIGHT - minutes(5))]
    first = run(stage, state, moving).outputs
    assert run(stage, state, moving).outputs == first


def test_equal_instants_are_ordered_by_event_id() -> None:
    second, first = visitor_event(2, NOON, page_url="/b"), visitor_event(1, NOON, page_url="/a")
    (row,) = sessions_of([second], [first]).values()
    assert (row["landing_page"], row["exit_page"]) == ("/a", "/b")


def test_a_refund_lowers_the_revenue_of_its_session() -> None:
    bought = visitor_event(1, NOON, event_type="purchase", amount_base=Decimal("10.50"))
    refunded = visitor_event(2, NOON + minutes(1), event_type="refund", amount_base=Decimal("4.25"))
    (row,) = sessions_of([bought, refunded]).values()
    assert (row["revenue_base"], row["purchases"]) == ("6.25", 1)


def test_late_events_are_listed_with_what_they_did() -> None:
    stage, state = SessionsStage(GAP, None), State()
    late: dict[str, Any] = {"is_late": True, "lateness_seconds": 3600.0}
    run(stage, state, [visitor_event(1, NOON), visitor_event(2, NOON + minutes(50))])

    def outcome(event: VisitorEvent) -> str:
        outputs = run(stage, state, [event]).outputs
        (said,) = [o.value for o in outputs if o.topic == SILVER_LATE_EVENTS]
        assert said is not None
        return str(json.loads(said)["outcome"])

    assert outcome(visitor_event(3, NOON - minutes(10), **late)) == "merged"
    assert outcome(visitor_event(4, NOON + minutes(25), **late)) == "joined_sessions"
    assert outcome(visitor_event(5, NOON - minutes(300), **late)) == "started_session"


def event_sets() -> st.SearchStrategy[list[VisitorEvent]]:
    """Events of two visitors around a midnight, dense enough to join and sparse enough to cut."""

    def build(drawn: list[tuple[int, str, str]]) -> list[VisitorEvent]:
        return [
            visitor_event(
                number,
                MIDNIGHT + minutes(offset),
                visitor_id=visitor,
                event_type=kind,
                page_url=f"/{number}",
                amount_base=Decimal(number) if kind == "purchase" else None,
            )
            for number, (offset, visitor, kind) in enumerate(drawn, start=1)
        ]

    one = st.tuples(
        st.integers(-3000, 3000).map(lambda n: n // 5 * 5),
        st.sampled_from("ab"),
        st.sampled_from(["page_viewed", "purchase"]),
    )
    return st.lists(one, min_size=1, max_size=60).map(build)


@given(events=event_sets(), data=st.data())
def test_any_order_repetition_and_batches_give_what_sort_and_cut_gives(
    events: list[VisitorEvent], data: st.DataObject
) -> None:
    repeated = events + data.draw(st.lists(st.sampled_from(events), max_size=20))
    shuffled = data.draw(st.permutations(repeated))
    size = data.draw(st.integers(1, len(shuffled)))
    rows = sessions_of(*(shuffled[i : i + size] for i in range(0, len(shuffled), size)))
    assert as_reference(rows) == sort_and_cut(events)


@given(events=event_sets(), data=st.data())
def test_a_crash_that_loses_what_was_sent_heals_by_the_replay(
    events: list[VisitorEvent], data: st.DataObject
) -> None:
    """Any batch may be lost on its way out, after its changelog was written; it comes again."""
    stage, state, silver = SessionsStage(GAP, None), State(), Silver()
    size = data.draw(st.integers(1, 20))
    for start in range(0, len(events), size):
        batch = events[start : start + size]
        if data.draw(st.booleans()):
            run(stage, state, batch)  # its changelog was written, its outputs were lost
        silver.take(run(stage, state, batch).outputs)
    assert as_reference(silver.rows()) == sort_and_cut(events)
