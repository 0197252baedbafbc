"""Sessions, rule by rule: each edge of cutting, extending and joining, by example."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from builders import NOON, State, minutes, run, visitor_event
from session_reference import GAP, reference
from session_world import MIDNIGHT, silver_of

from processors.sessions.keys import day_key
from processors.sessions.stage import SessionsStage
from streams.facts import VisitorEvent

MS = timedelta(milliseconds=1)
US = timedelta(microseconds=1)


def lengths(*batches: Iterable[VisitorEvent]) -> list[int]:
    """How many events each session has; whatever they are, they are what the reference says."""
    batches = tuple(list(batch) for batch in batches)
    rows = silver_of(batches).rows()
    assert rows == reference(event for batch in batches for event in batch)
    return sorted(row["events"] for row in rows.values())


def test_a_step_of_exactly_the_gap_still_belongs() -> None:
    assert lengths([visitor_event(1, NOON), visitor_event(2, NOON + GAP)]) == [2]
    assert lengths([visitor_event(2, NOON + GAP)], [visitor_event(1, NOON)]) == [2]


@pytest.mark.parametrize("over", [MS, US])
def test_a_step_barely_over_the_gap_cuts(over: timedelta) -> None:
    assert lengths([visitor_event(1, NOON), visitor_event(2, NOON + GAP + over)]) == [1, 1]
    assert lengths([visitor_event(2, NOON + GAP + over)], [visitor_event(1, NOON)]) == [1, 1]


def test_an_event_exactly_the_gap_from_two_sessions_joins_them() -> None:
    apart = [visitor_event(1, NOON), visitor_event(2, NOON + 2 * GAP)]
    assert lengths(apart) == [1, 1]
    assert lengths(apart, [visitor_event(3, NOON + GAP)]) == [3]
    assert lengths(apart, [visitor_event(3, NOON + GAP + MS)]) == [1, 2]


def test_one_event_joins_two_and_one_batch_three_sessions() -> None:
    apart = [visitor_event(i, NOON + minutes(50 * i)) for i in range(3)]
    between = [visitor_event(10 + i, NOON + minutes(50 * i + 25)) for i in range(2)]
    assert lengths(apart, between[:1]) == [1, 3]
    assert lengths(*[[event] for event in apart], between) == [5]


def test_extending_backward_over_midnight_moves_the_session_to_the_day_before() -> None:
    silver = silver_of([[visitor_event(1, MIDNIGHT + minutes(5))], [visitor_event(2, MIDNIGHT - minutes(5))]])
    assert silver.sessions("v|2026-03-02") == []
    assert [row["events"] for row in silver.sessions("v|2026-03-01")] == [2]


def test_sessions_of_two_days_are_joined_on_the_first() -> None:
    early, late = visitor_event(1, MIDNIGHT - minutes(20)), visitor_event(2, MIDNIGHT + minutes(20))
    silver = silver_of([[early], [late], [visitor_event(3, MIDNIGHT)]])
    assert [row["events"] for row in silver.sessions("v|2026-03-01")] == [3]
    assert silver.sessions("v|2026-03-02") == []


def test_what_joins_only_by_a_session_that_moved_in_the_same_batch_is_found() -> None:
    """The event at 0:40 touches the session only on its second day, which it has just moved away from."""
    first = [visitor_event(1, MIDNIGHT), visitor_event(2, MIDNIGHT + minutes(10))]
    second = [visitor_event(3, MIDNIGHT + minutes(40)), visitor_event(4, MIDNIGHT - minutes(10)), first[1]]
    assert lengths(first, second) == [4]


def test_a_session_over_several_days_is_found_from_each_of_them() -> None:
    long = [visitor_event(i, NOON + minutes(25 * i)) for i in range(60 * 60 // 25)]
    for minute in (3, 25 * 57 + 3, 25 * 100 + 3, 25 * 143 + 3):
        late = [visitor_event(999, NOON + minutes(minute))]
        assert lengths(*[long[i : i + 7] for i in range(0, len(long), 7)], late) == [len(long) + 1]


def test_a_session_that_grew_backward_over_days_is_found_from_its_last_day() -> None:
    long = [visitor_event(i, NOON + minutes(25 * i)) for i in range(60 * 60 // 25)]
    backward = [[event] for event in reversed(long)]
    assert lengths(*backward, [visitor_event(999, long[-1].occurred_at + GAP)]) == [len(long) + 1]


def test_a_replay_sends_the_emptied_day_again() -> None:
    stage, state = SessionsStage(GAP, None), State()
    run(stage, state, [visitor_event(1, MIDNIGHT + minutes(5))])
    moving = [visitor_event(2, MIDNIGHT - minutes(5))]
    first = run(stage, state, moving).outputs
    assert run(stage, state, moving).outputs == first


def test_equal_instants_are_ordered_by_event_id() -> None:
    second, first = visitor_event(2, NOON, page_url="/b"), visitor_event(1, NOON, page_url="/a")
    for batches in ([[second], [first]], [[first, second]], [[first], [second]]):
        (row,) = silver_of(batches).rows().values()
        assert (row["landing_page"], row["exit_page"]) == ("/a", "/b")


def test_a_session_is_named_after_its_visitor_and_first_event() -> None:
    later = [visitor_event(2, NOON + minutes(1)), visitor_event(3, NOON + minutes(2))]
    (first,), (other,), (grown,) = (silver_of([events]).rows() for events in (later[:1], later[1:], later))
    assert first == grown != other
    (of_another,) = silver_of([[visitor_event(2, NOON + minutes(1), visitor_id="w")]]).rows()
    assert of_another != first


def test_a_refund_lowers_the_revenue_of_its_session() -> None:
    bought = visitor_event(1, NOON, event_type="purchase", amount_base=Decimal("10.50"))
    refunded = visitor_event(2, NOON + minutes(1), event_type="refund", amount_base=Decimal("14.25"))
    (row,) = silver_of([[bought], [refunded]]).rows().values()
    assert (row["revenue_base"], row["purchases"], row["events"]) == (Decimal("-3.75"), 1, 2)


@pytest.mark.parametrize(
    ("length", "runaway"), [(timedelta(hours=24), False), (timedelta(hours=24, microseconds=1), True)]
)
def test_a_session_of_over_24_hours_is_a_runaway_and_not_cut(length: timedelta, runaway: bool) -> None:
    events = [visitor_event(i, NOON + i * GAP) for i in range(48)] + [visitor_event(48, NOON + length - MS)]
    (row,) = silver_of([events, [visitor_event(49, NOON + length)]]).rows().values()
    assert (row["is_runaway"], row["events_approximate"]) == (runaway, False)


def test_an_inhuman_rate_is_a_bot() -> None:
    def is_bot(count: int, apart: timedelta) -> bool:
        (row,) = silver_of([[visitor_event(i, NOON + i * apart) for i in range(count)]]).rows().values()
        return bool(row["is_bot"])

    assert is_bot(50, timedelta(seconds=0.5))
    assert not is_bot(49, timedelta(seconds=0.5))
    assert not is_bot(50, timedelta(seconds=0.52))


def test_an_event_ahead_of_its_arrival_is_cut_by_its_own_time() -> None:
    """A device's clock may be hours ahead; the rule knows nothing of arrival."""
    skewed = visitor_event(2, NOON + timedelta(hours=3))
    skewed.arrived_at = NOON + minutes(1)
    silver = silver_of([[visitor_event(1, NOON), skewed], [visitor_event(3, NOON + minutes(2))]])
    assert sorted(row["events"] for row in silver.rows().values()) == [1, 2]
    assert not silver.late


def test_several_customers_on_one_device_have_sessions_of_their_own() -> None:
    device: dict[str, Any] = {"anonymous_id": "d"}
    events = [
        visitor_event(1, NOON, visitor_id="d", **device),
        visitor_event(2, NOON + minutes(1), visitor_id="ann", customer_id="ann", **device),
        visitor_event(3, NOON + minutes(2), visitor_id="bob", customer_id="bob", **device),
        visitor_event(4, NOON + minutes(3), visitor_id="ann", customer_id="ann", **device),
    ]
    found = {(row["customer_id"], row["events"]) for row in silver_of([events]).rows().values()}
    assert found == {(None, 1), ("ann", 2), ("bob", 1)}


def test_a_customer_on_several_devices_has_one_session_and_each_device_the_one_before_its_login() -> None:
    events = [
        visitor_event(1, NOON, visitor_id="phone", anonymous_id="phone"),
        visitor_event(2, NOON + minutes(1), visitor_id="desk", anonymous_id="desk"),
        visitor_event(3, NOON + minutes(2), visitor_id="ann", customer_id="ann", anonymous_id="phone"),
        visitor_event(4, NOON + minutes(3), visitor_id="ann", customer_id="ann", anonymous_id="desk"),
    ]
    found = {(row["customer_id"], row["events"]) for row in silver_of([events]).rows().values()}
    assert found == {(None, 1), ("ann", 2)}
    assert len(silver_of([events]).rows()) == 3


@pytest.mark.parametrize(
    "midnight",
    [
        datetime(2028, 2, 29, tzinfo=UTC),
        datetime(2028, 3, 1, tzinfo=UTC),
        datetime(2027, 3, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, tzinfo=UTC),
        datetime(1900, 1, 1, tzinfo=UTC),
    ],
    ids=lambda day: f"{day:%Y-%m-%d}",
)
def test_leap_days_turns_of_years_and_days_before_1970_are_days_like_others(midnight: datetime) -> None:
    before, after = visitor_event(1, midnight - minutes(15)), visitor_event(2, midnight + minutes(15))
    far = visitor_event(3, midnight + minutes(50))
    for batches in ([[before, after], [far]], [[far], [after], [before]], [[after], [far, before]]):
        silver = silver_of(batches)
        assert silver.rows() == reference([before, after, far])
        assert len(silver.sessions(f"v|{midnight - timedelta(days=1):%Y-%m-%d}")) == 1


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_time_are_instants_like_others(at: datetime) -> None:
    assert lengths([visitor_event(1, at)], [visitor_event(2, at)]) == [2]


def test_keys_sort_by_day_before_visitor() -> None:
    days = [-719_162, -1, 0, 1, 255, 256, 20_000, 2_932_896]
    assert [day_key(visitor, day) for day in days for visitor in "ab"] == sorted(
        day_key(visitor, day) for visitor in "ba" for day in days
    )


def test_late_events_are_listed_with_what_they_did() -> None:
    late: dict[str, Any] = {"is_late": True, "lateness_seconds": 3600.0}
    silver = silver_of(
        [
            [visitor_event(1, NOON), visitor_event(2, NOON + minutes(50))],
            [visitor_event(3, NOON - minutes(10), **late)],
            [visitor_event(4, NOON + minutes(25), **late)],
            [visitor_event(5, NOON - minutes(300), **late)],
        ]
    )
    assert list(silver.late.values()) == ["merged", "joined_sessions", "started_session"]


def test_a_late_copy_of_an_event_that_was_in_time_is_not_listed() -> None:
    again = visitor_event(1, NOON, is_late=True, lateness_seconds=9999.0)
    assert not silver_of([[visitor_event(1, NOON)], [again]]).late
    assert not silver_of([[visitor_event(1, NOON), again]]).late


def test_of_one_id_with_two_contents_in_a_session_the_first_in_partition_order_counts() -> None:
    first = visitor_event(1, NOON + minutes(10), page_url="/first")
    second = visitor_event(1, NOON, page_url="/second")
    for batches in ([[first, second]], [[first], [second]]):
        (row,) = silver_of(batches).rows().values()
        assert (row["events"], row["landing_page"]) == (1, "/first")


def test_a_stage_names_the_settings_its_state_depends_on() -> None:
    assert SessionsStage(GAP, None).state_settings["gap_seconds"] == "1800"
    assert SessionsStage(GAP, None, "EUR").state_settings["base_currency"] == "EUR"
    assert SessionsStage(GAP, timedelta(days=1)).state_settings == SessionsStage(GAP, None).state_settings
