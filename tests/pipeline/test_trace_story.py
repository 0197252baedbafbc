"""How a trace is told."""

from datetime import UTC, datetime, timedelta

import pytest
from dead_letter_examples import EVENT_ID, NOON, a_letter

from pipeline.trace.findings import Fact, Gold, Trace
from pipeline.trace.story import as_text

LATER = datetime(2026, 3, 2, tzinfo=UTC)


def a_fact(event_type: str) -> Fact:
    return Fact(
        table="silver.silver_transactions",
        identity=a_letter().identity,
        event_id=EVENT_ID,
        event_type=event_type,
        occurred_at=NOON,
        arrived_at=NOON,
        loaded_at=NOON + timedelta(seconds=1),
        is_late=False,
        visitor_id="c-1",
        customer_id="c-1",
        anonymous_id=None,
        order_id="o-1",
    )


@pytest.mark.parametrize(
    ("event_type", "told"),
    [
        ("purchase", "gold      does not have order o-1 yet; the last run began"),
        ("refund", "gold      does not have order o-1: an order comes with its purchase; the last run began"),
    ],
)
def test_an_order_is_awaited_for_its_purchase_only(event_type: str, told: str) -> None:
    trace = Trace(EVENT_ID, LATER, facts=[a_fact(event_type)], gold=Gold(built_at=LATER))
    assert told in as_text(trace)


def test_of_a_run_that_was_not_published_it_is_said() -> None:
    facts = [a_fact("purchase")]
    for is_published in (True, False):
        told = as_text(Trace(EVENT_ID, LATER, facts=facts, gold=Gold(LATER, is_published=is_published)))
        assert (f"began {LATER:%Y-%m-%d} 00:00:00.000 UTC, and was not published" in told) != is_published


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (0, "refused by clean-product-events: missing_field"),
        (1, "refused by clean-product-events (failed 2 times; of earlier times only the number is kept): m"),
    ],
)
def test_failures_are_counted_as_in_the_list_of_letters(attempt: int, told: str) -> None:
    letter = a_letter(attempt=attempt)
    assert told in as_text(Trace(EVENT_ID, LATER, letters=[letter]))
    assert letter.failures in ("failed 1 time", "failed 2 times")
