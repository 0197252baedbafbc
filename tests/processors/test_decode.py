"""Decoding: every reason from real bytes, and all that is wrong with an event reported together."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.clean.decode import decode_event
from processors.outcomes import Refusal
from streams.dead_letters import Reason
from streams.events import MAX_EVENT_BYTES, STREAMS, Event, Login, Purchase, Stream

PURCHASE: dict[str, Any] = {
    "event_id": "6f1e9c1e-0000-4000-8000-000000000000",
    "event_type": "purchase",
    "occurred_at": "2026-03-01T12:00:00+01:00",
    "customer_id": "c-1",
    "order_id": "o-1",
    "amount": "19.90",
    "currency": "EUR",
    "items": [{"product_id": "p-1", "category": "shoes", "quantity": 1, "unit_price": 19.9}],
    "payment_method": "card",
}


def decode(value: Any, stream: Stream = "transaction-events") -> Event | Refusal:
    return decode_event(stream, value if isinstance(value, bytes) else json.dumps(value).encode())


def refusal(value: Any, stream: Stream = "transaction-events") -> Refusal:
    found = decode(value, stream)
    assert isinstance(found, Refusal)
    return found


def changed(**fields: Any) -> dict[str, Any]:
    return {**PURCHASE, **fields}


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in PURCHASE.items() if name != field}


def test_a_right_event_is_typed_and_its_money_is_exact() -> None:
    event = decode(changed(amount=0.1, discount="0.30"))
    assert isinstance(event, Purchase)
    assert (str(event.amount), str(event.discount)) == ("0.1", "0.30")


def test_an_unknown_field_is_ignored_whatever_it_holds() -> None:
    assert isinstance(decode(changed(colour="red", more={"x": "\0"})), Purchase)


def test_the_text_of_an_escape_is_no_nul_character() -> None:
    assert isinstance(decode(changed(order_id="C:\\u0000")), Purchase)


@pytest.mark.parametrize(
    ("value", "reason", "path"),
    [
        (b"\xff{}", Reason.NOT_UTF8, "$"),
        (b"", Reason.NOT_JSON, "$"),
        (b'{"event_id":', Reason.NOT_JSON, "$"),
        (b"{}{}", Reason.NOT_JSON, "$"),
        (b'"text"', Reason.NOT_AN_OBJECT, "$"),
        (b"[{}]", Reason.NOT_AN_OBJECT, "$"),
        (b" " * (MAX_EVENT_BYTES + 1), Reason.TOO_LARGE, "$"),
        (b"[" * 100_000, Reason.NOT_JSON, "$"),
        ({}, Reason.MISSING_FIELD, "$.event_type"),
        (changed(event_type=7), Reason.WRONG_TYPE, "$.event_type"),
        (changed(event_type="purchased"), Reason.UNKNOWN_EVENT_TYPE, "$.event_type"),
        (changed(event_type="login"), Reason.UNKNOWN_EVENT_TYPE, "$.event_type"),
        (without("order_id"), Reason.MISSING_FIELD, "$.order_id"),
        (without("event_id"), Reason.MISSING_FIELD, "$.event_id"),
        (changed(customer_id=None), Reason.WRONG_TYPE, "$.customer_id"),
        (changed(customer_id="x" * 129), Reason.INVALID_VALUE, "$.customer_id"),
        (changed(event_id="not a uuid"), Reason.INVALID_VALUE, "$.event_id"),
        (changed(occurred_at="yesterday"), Reason.INVALID_TIMESTAMP, "$.occurred_at"),
        (changed(occurred_at="2026-03-01T12:00:00"), Reason.INVALID_TIMESTAMP, "$.occurred_at"),
        (changed(occurred_at=1_700_000_000), Reason.WRONG_TYPE, "$.occurred_at"),
        (changed(amount="much"), Reason.INVALID_VALUE, "$.amount"),
        (changed(amount=None), Reason.WRONG_TYPE, "$.amount"),
        (changed(items=[]), Reason.INVALID_VALUE, "$.items"),
        (changed(items={}), Reason.WRONG_TYPE, "$.items"),
        (
            changed(items=[{**PURCHASE["items"][0], "quantity": 0}]),
            Reason.INVALID_VALUE,
            "$.items[0].quantity",
        ),
        (changed(context={"country": "Germany"}), Reason.INVALID_VALUE, "$.context.country"),
        (changed(context=[]), Reason.WRONG_TYPE, "$.context"),
        (changed(context={"country": "DE\n"}), Reason.INVALID_VALUE, "$.context.country"),
        (changed(currency="EUR\n"), Reason.INVALID_VALUE, "$.currency"),
        (changed(order_id="o\0"), Reason.INVALID_VALUE, "$.order_id"),
        (changed(context={"page_url": "/\0"}), Reason.INVALID_VALUE, "$.context.page_url"),
        (
            changed(items=[{**PURCHASE["items"][0], "category": "\0"}]),
            Reason.INVALID_VALUE,
            "$.items[0].category",
        ),
        (b'{"event_type": "log", "message": "\\ud800"}', Reason.NOT_JSON, "$"),
    ],
)
def test_a_broken_record_is_refused_with_its_reason_and_path(value: Any, reason: Reason, path: str) -> None:
    found = refusal(value)
    assert (found.reason, found.errors[0].path) == (reason, path)


def test_all_that_is_wrong_is_reported_together() -> None:
    found = refusal(changed(order_id=7, amount="x", items=[{"product_id": "p", "quantity": "2"}]))
    assert [error.path for error in found.errors] == [
        "$.order_id",
        "$.amount",
        "$.items[0].category",
        "$.items[0].quantity",
        "$.items[0].unit_price",
    ]


@pytest.mark.parametrize("email", ["a@b.c\n", "a b@c.d", "a@b@c", "@b.c", "a@", ""])
def test_an_e_mail_address_has_one_at_and_no_space(email: str) -> None:
    signup = {**PURCHASE, "event_type": "signup", "email": email}
    assert refusal(signup, "customer-events").errors[0].path == "$.email"


def test_a_latency_is_not_negative() -> None:
    log = {
        **PURCHASE,
        "event_type": "log",
        "service": "web",
        "level": "info",
        "message": "m",
        "latency_ms": -1,
    }
    assert refusal(log, "system-logs").errors[0].path == "$.latency_ms"


def test_a_null_profile_field_clears_and_an_absent_one_leaves() -> None:
    login = {**PURCHASE, "event_type": "login", "email": None}
    event = decode(login, "customer-events")
    assert isinstance(event, Login)
    assert event.email is None
    assert event.name is not None  # UNSET, not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(
    fields=st.dictionaries(st.sampled_from(sorted(PURCHASE)), json_values), stream=st.sampled_from(STREAMS)
)
def test_any_values_in_any_fields_end_as_an_event_or_a_refusal(
    fields: dict[str, Any], stream: Stream
) -> None:
    found = decode(changed(**fields), stream)
    if isinstance(found, Refusal):
        assert found.reason is not Reason.PROCESSING_ERROR
        assert found.errors


@given(value=st.binary(max_size=200), stream=st.sampled_from(STREAMS))
def test_any_bytes_end_as_an_event_or_a_refusal(value: bytes, stream: Stream) -> None:
    assert decode_event(stream, value) is not None
