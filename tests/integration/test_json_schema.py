"""The schema files for producers: generated, in agreement with what is produced and with what is refused."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from processors.clean.read import read_event
from processors.outcomes import Refusal
from processors.rates import read_rates
from producer.run import ProduceConfig, make_records
from streams.dead_letters import Reason
from streams.events import STREAM_OF_TYPE, STREAMS, Stream
from streams.json_schema import schema_files, schema_of

ROOT = Path(__file__).parents[2]
RATES = read_rates(ROOT / "dbt" / "seeds" / "exchange_rates.csv", "USD")
END = datetime(2026, 6, 1, tzinfo=UTC)
VALIDATORS = {stream: Draft202012Validator(schema_of(stream)) for stream in STREAMS}
CONFIG = ProduceConfig(seed=5, end=END, count=4_000, days=30, late=0.02, duplicates=0.02, broken=0.05)
BEYOND_A_SCHEMA = {Reason.CONFLICTING_EVENT_ID, Reason.FUTURE_TIMESTAMP, Reason.UNKNOWN_CURRENCY}


def example(event_type: str) -> dict[str, Any]:
    found = (r for r in make_records(CONFIG) if r.reason is None and r.event_type == event_type)
    return dict(json.loads(next(found).value))


PURCHASE, VIEW, LOG, SIGNUP = map(example, ("purchase", "page_viewed", "log", "signup"))


def test_the_files_are_those_that_are_generated() -> None:
    folder = ROOT / "schemas"
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == schema_files(), "write them again with `make schemas`"


@pytest.mark.parametrize("stream", STREAMS)
def test_a_schema_is_one_of_its_draft(stream: Stream) -> None:
    Draft202012Validator.check_schema(schema_of(stream))


def no_day_of_the_calendar(event: Any) -> bool:
    return isinstance(event, dict) and event.get("occurred_at") == "2026-02-30T10:00:00Z"


def test_what_the_shop_produces_is_as_the_schemas_say_and_what_is_broken_is_not() -> None:
    seen = set()
    for record in make_records(CONFIG):
        if record.reason in (Reason.NOT_UTF8, Reason.NOT_JSON):
            continue
        event = json.loads(record.value)
        right = record.reason is None or record.reason in BEYOND_A_SCHEMA or no_day_of_the_calendar(event)
        errors = list(VALIDATORS[record.stream].iter_errors(event))
        assert right == (not errors), (record, errors[:1])
        seen.add(record.event_type)
    assert len(seen) >= 18


@pytest.mark.parametrize(
    "event",
    [
        {**PURCHASE, "event_id": "{" + PURCHASE["event_id"] + "}"},
        {**PURCHASE, "event_id": None},
        {**PURCHASE, "event_type": "buy"},
        {**PURCHASE, "event_version": 2},
        {**PURCHASE, "occurred_at": "2026-05-01T10:00:00"},
        {**PURCHASE, "occurred_at": "yesterday"},
        {**PURCHASE, "customer_id": ""},
        {**PURCHASE, "customer_id": "x" * 129},
        {**PURCHASE, "customer_id": None},
        {**PURCHASE, "context": {"country": "Germany"}},
        {**PURCHASE, "amount": -1},
        {**PURCHASE, "amount": "-1"},
        {**PURCHASE, "amount": "1_000"},
        {**PURCHASE, "amount": 10**10},
        {**PURCHASE, "amount": True},
        {**PURCHASE, "currency": "eur"},
        {**PURCHASE, "items": []},
        {**PURCHASE, "items": [{**PURCHASE["items"][0], "quantity": 0}]},
        {**PURCHASE, "items": [{**PURCHASE["items"][0], "unit_price": -1}]},
        {name: value for name, value in PURCHASE.items() if name != "order_id"},
        {**PURCHASE, "event_type": "refund", "amount": 0},
        {**VIEW, "customer_id": None, "anonymous_id": None},
        {name: value for name, value in VIEW.items() if name not in ("customer_id", "anonymous_id")},
        {**VIEW, "event_type": "product_reviewed", "product_id": "p", "rating": 6},
        {**SIGNUP, "email": "nobody"},
        {**SIGNUP, "birth_year": 1849},
        {**LOG, "level": "loud"},
        {**LOG, "latency_ms": -1},
        [],
        "text",
    ],
)
def test_what_a_schema_refuses_cleaning_refuses(event: Any) -> None:
    event_type = event.get("event_type") if isinstance(event, dict) else None
    stream = STREAM_OF_TYPE.get(event_type, "transaction-events")
    assert not VALIDATORS[stream].is_valid(event)
    value = json.dumps(event).encode()
    assert isinstance(read_event(stream, value, END + timedelta(minutes=1), RATES), Refusal)


@pytest.mark.parametrize(
    "event",
    [
        {**PURCHASE, "amount": 12.5},
        {**PURCHASE, "amount": "12.50", "discount": None, "coupon": None},
        {**PURCHASE, "occurred_at": "2026-05-01 10:00:00.123456789+0200"},
        {**PURCHASE, "event_id": PURCHASE["event_id"].replace("-", "").upper()},
        {**PURCHASE, "colour": "red"},
        {**VIEW, "customer_id": None, "anonymous_id": "a"},
        {**SIGNUP, "name": None, "country": "gb"},
    ],
)
def test_what_cleaning_accepts_a_schema_accepts(event: dict[str, Any]) -> None:
    stream = STREAM_OF_TYPE[event["event_type"]]
    assert VALIDATORS[stream].is_valid(event)
    value = json.dumps(event).encode()
    assert not isinstance(read_event(stream, value, END + timedelta(minutes=1), RATES), Refusal)
