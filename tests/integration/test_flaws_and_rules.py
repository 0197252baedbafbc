"""The producer's flaws and the cleaning rules were written apart; they must agree on every reason."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from processors.clean.read import read_event
from processors.outcomes import Refusal
from processors.rates import read_rates
from producer.run import ProduceConfig, make_records
from streams.dead_letters import Reason

END = datetime(2026, 6, 1, tzinfo=UTC)
RATES = read_rates(Path(__file__).parents[2] / "dbt" / "seeds" / "exchange_rates.csv", "USD")
FOUND_BY_SINKS = {Reason.CONFLICTING_EVENT_ID}


def test_every_record_of_the_shop_is_accepted_or_refused_as_its_ledger_says() -> None:
    config = ProduceConfig(seed=3, end=END, count=10_000, days=90, late=0.02, duplicates=0.02, broken=0.05)
    found: Counter[Reason | None] = Counter()
    for record in make_records(config):
        outcome = read_event(record.stream, record.value, END + timedelta(minutes=1), RATES)
        reason = outcome.reason if isinstance(outcome, Refusal) else None
        expected = None if record.reason in FOUND_BY_SINKS else record.reason
        assert reason == expected, (record, outcome)
        found[record.reason] += 1
    assert min(found.values()) >= 10
    assert len(found) == 13
