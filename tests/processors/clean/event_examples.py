"""A right event of every type, as bytes of a producer; tests change one thing at a time."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from processors.clean.channels import read_channels
from processors.clean.facts import Enrichment
from processors.clean.read import read_event
from processors.outcomes import Refusal
from processors.rates import Rate, Rates
from streams.dead_letters import Reason
from streams.events import STREAM_OF_TYPE, Event, Stream

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT_ID = "6f1e9c1e-0a0b-4c0d-8e0f-0123456789ab"
RATES = Rates(
    [
        Rate(date(2026, 1, 1), "EUR", Decimal("1.10")),
        Rate(date(2026, 2, 1), "EUR", Decimal("1.20")),
        Rate(date(2026, 1, 1), "JPY", Decimal("0.0065")),
    ],
    "USD",
)
ENRICHMENT = Enrichment(RATES, read_channels(own_hosts=("shop.example",)))

_ITEM = {"product_id": "p-1", "category": "shoes", "quantity": 2, "unit_price": "9.95"}
_SUBSCRIPTION = {"subscription_id": "s-1", "plan": "basic", "monthly_amount": "9.00", "currency": "EUR"}
_FIELDS: dict[str, dict[str, Any]] = {
    "signup": {"email": "ada@example.org", "name": "Ada", "country": "GB", "birth_year": 1990},
    "login": {"anonymous_id": "a-1"},
    "logout": {},
    "profile_updated": {"name": "Ada", "email": None, "marketing_opt_in": True},
    "account_deleted": {},
    "purchase": {
        "order_id": "o-1",
        "amount": "19.90",
        "currency": "EUR",
        "items": [_ITEM],
        "payment_method": "card",
        "coupon": "SPRING",
        "discount": 1.5,
    },
    "refund": {"order_id": "o-1", "amount": 5, "currency": "EUR"},
    "subscription_started": _SUBSCRIPTION,
    "subscription_renewed": _SUBSCRIPTION,
    "subscription_cancelled": _SUBSCRIPTION,
    "page_viewed": {},
    "product_viewed": {"product_id": "p-1"},
    "product_searched": {"query": "red shoes"},
    "cart_added": {"product_id": "p-1", "quantity": 2},
    "cart_removed": {"product_id": "p-1"},
    "checkout_started": {},
    "product_reviewed": {"product_id": "p-1", "rating": 4},
    "product_listed": {
        "product_id": "p-1",
        "name": "Shoe",
        "category": "shoes",
        "price": "9.95",
        "currency": "EUR",
        "stock": 7,
    },
    "product_delisted": {"product_id": "p-1"},
    "log": {"service": "web", "level": "info", "message": "ok", "latency_ms": 12.5, "status_code": 200},
}
NO_VISITOR = frozenset({"product_listed", "product_delisted", "log"})
CONTEXT = {
    "page_url": "https://shop.example/p/p-1",
    "referrer": "https://www.google.com/",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0",
    "ip": "203.0.113.7",
    "country": "de",
}


def example(of_type: str, /, **fields: Any) -> dict[str, Any]:
    """Give a right event; a field given as `...` is left out."""
    who = {} if of_type in NO_VISITOR else {"customer_id": "c-1"}
    whole = {
        "event_id": EVENT_ID,
        "event_type": of_type,
        "occurred_at": "2026-03-01T12:00:00Z",
        **who,
        **_FIELDS[of_type],
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def item(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**_ITEM, **fields}.items() if value is not ...}


def to_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def spelled(event_type: str, field: str, raw: str) -> bytes:
    """Give an event with a value in the very spelling that JSON numbers or texts need."""
    return json.dumps(example(event_type, **{field: "\x01"})).replace('"\\u0001"', raw).encode()


def read(
    value: Any, stream: Stream | None = None, *, arrived_at: datetime = NOON, rates: Rates = RATES
) -> Event | Refusal:
    if stream is None:
        event_type = value.get("event_type") if isinstance(value, dict) else None
        stream = STREAM_OF_TYPE.get(event_type, "transaction-events")
    return read_event(stream, to_bytes(value), arrived_at, rates)


def accepted(value: Any, stream: Stream | None = None, **arguments: Any) -> Any:
    found = read(value, stream, **arguments)
    assert not isinstance(found, Refusal), found
    return found


def refused(value: Any, stream: Stream | None = None, **arguments: Any) -> Refusal:
    found = read(value, stream, **arguments)
    assert isinstance(found, Refusal), found
    return found


def named(refusal: Refusal) -> tuple[Reason, list[str]]:
    return refusal.reason, [error.path for error in refusal.errors]
