"""What the comparison with peers says must be right: it reads clocks, counts and ratios."""

from dataclasses import replace

import pytest

from bench.stage.measure import Input, figures
from bench.stage.report import AIMS, ratios
from bench.stage.session import GAP_MS, add_event, decode_event
from bench.stage.watch import Sample, Trace
from bench.stage.workload import BEGIN_MS, WrongResultError, check, expected_outcome, make_events

OUTCOME = expected_outcome(2_000, customers=20)


def test_warm_up_and_what_comes_after_the_last_output_are_no_part_of_the_rate() -> None:
    trace = Trace(began=90.0)
    for at, done, cpu in (
        (100, 0, 1),
        (101, 100, 2),
        (103, 300, 4),
        (105, 500, 6),
        (106, 500, 7),
        (107, 500, 8),
    ):
        trace.samples.append(Sample(at, done, cpu, 0.0))
    trace.cpu_at_end = 8.0
    found = figures(trace, Input("events", 500, 200, OUTCOME), processes=1)
    assert found["startup_seconds"] == 11
    assert found["seconds"] == 3  # from 102, between two samples, to 105
    assert found["events_per_second"] == 100
    assert found["cpu_seconds"] == 5  # with what was still to be done after the last output


def test_ratios_are_taken_within_a_round() -> None:
    aim = AIMS[0]
    runs = [
        {"round": number, "system": system, aim.figure: value}
        for number, values in enumerate([(30, 10), (300, 200)])
        for system, value in zip((aim.system, aim.other), values, strict=True)
    ]
    found = ratios(runs, aim)
    assert found is not None
    assert (found.low, found.high) == (1.5, 3.0)


@pytest.mark.parametrize("wrong", ["outputs", "sessions", "events", "amount_cents", "digest"])
def test_whatever_differs_from_what_must_come_out_is_found(wrong: str) -> None:
    changed = "other" if wrong == "digest" else getattr(OUTCOME, wrong) - 1
    with pytest.raises(WrongResultError):
        check(replace(OUTCOME, **{wrong: changed}), OUTCOME)


def test_every_event_is_in_one_session() -> None:
    events = [decode_event(value) for _key, value in make_events(2_000, customers=20)]
    assert OUTCOME.events == OUTCOME.outputs == len(events)
    assert OUTCOME.amount_cents == sum(event.amount_cents for event in events)


def test_a_session_ends_with_a_gap_longer_than_half_an_hour() -> None:
    first = add_event(None, "c", BEGIN_MS, 5)
    assert add_event(first, "c", BEGIN_MS + GAP_MS, 7) is first
    assert (first.events, first.amount_cents) == (2, 12)
    second = add_event(first, "c", BEGIN_MS + 2 * GAP_MS + 1, 1)
    assert (second.started_at_ms, second.events) == (BEGIN_MS + 2 * GAP_MS + 1, 1)
