"""Broken records: for each reason that a producer can cause, a way to spoil a good event."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from producer.shop.draws import draw_uuid
from streams.dead_letters import Reason

Fields = dict[str, Any]

_CURRENCY: Final = (
    "purchase",
    "refund",
    "subscription_started",
    "subscription_renewed",
    "subscription_cancelled",
    "product_listed",
)
_VISITS: Final = ("page_viewed", "product_viewed", "product_searched", "cart_added", "login", "purchase")
_ANY: Final = (*_VISITS, "signup", "refund", "product_listed", "log")

REQUIRED: Final = {
    "signup": ("email", "customer_id"),
    "login": ("customer_id",),
    "purchase": ("order_id", "amount", "currency", "items", "payment_method"),
    "refund": ("order_id", "amount"),
    "subscription_started": ("subscription_id", "plan"),
    "product_viewed": ("product_id",),
    "cart_added": ("product_id",),
    "product_searched": ("query",),
    "product_reviewed": ("rating",),
    "product_listed": ("name", "price", "stock"),
    "log": ("service", "level", "message"),
}
WRONG_TYPES: Final[Mapping[str, Fields]] = {
    "signup": {"marketing_opt_in": "yes"},
    "login": {"customer_id": 4711},
    "purchase": {"items": {"product_id": "p-1"}},
    "refund": {"order_id": 1001},
    "page_viewed": {"context": "homepage"},
    "product_viewed": {"product_id": ["p-1"]},
    "cart_added": {"quantity": "two"},
    "product_listed": {"stock": "plenty"},
    "log": {"latency_ms": "fast"},
}
INVALID_VALUES: Final[Mapping[str, Fields]] = {
    "signup": {"email": "nobody"},
    "purchase": {"amount": "-25.00"},
    "refund": {"amount": "0.00"},
    "subscription_started": {"monthly_amount": "-9.00"},
    "cart_added": {"quantity": 0},
    "product_reviewed": {"rating": 9},
    "product_viewed": {"product_id": ""},
    "product_listed": {"stock": -1},
    "log": {"level": "loud"},
}
BAD_INSTANTS: Final = ("yesterday", "2026-02-30T10:00:00Z", "2026-05-01T10:00:00", "25:61")
NO_OBJECTS: Final = (b"[]", b'"purchase"', b"42", b"null", b"true")


def _another(fields: Fields) -> Fields:
    """Change what an event says, as a producer does that gives two events one id."""
    kind = fields["event_type"]
    if kind == "purchase":
        return fields | {"payment_method": "bank_transfer"}
    if kind == "product_searched":
        return fields | {"query": fields["query"] + " sale"}
    if kind == "log":
        return fields | {"message": fields["message"] + " (again)"}
    return fields | {"context": {**fields.get("context", {}), "page_url": "https://shop.example.com/other"}}


def _edit(change: Callable[[Fields, random.Random], Fields]) -> Callable[[bytes, random.Random], bytes]:
    def spoil(value: bytes, rng: random.Random) -> bytes:
        fields: Fields = msgspec.json.decode(value)
        fields["event_id"] = str(draw_uuid(rng))
        return msgspec.json.encode(change(fields, rng))

    return spoil


def _not_utf8(value: bytes, rng: random.Random) -> bytes:
    fresh = _edit(lambda fields, _: fields)(value, rng)
    for field in (b'"page_url":"', b'"message":"'):
        if field in fresh:
            return fresh.replace(field, field + "café ".encode("latin-1"), 1)
    raise ValueError("an event without text cannot be broken this way")


def _without_a_field(fields: Fields, rng: random.Random) -> Fields:
    missing = rng.choice(("event_id", "occurred_at", *REQUIRED[fields["event_type"]]))
    return {name: value for name, value in fields.items() if name != missing}


SPOILERS: Final[Mapping[Reason, tuple[tuple[str, ...], Callable[[bytes, random.Random], bytes]]]] = {
    Reason.NOT_UTF8: (("page_viewed", "product_viewed", "product_searched", "log"), _not_utf8),
    Reason.NOT_JSON: (_ANY, lambda value, rng: value[: rng.randrange(10, len(value) - 1)]),
    Reason.NOT_AN_OBJECT: (
        _ANY,
        lambda value, rng: rng.choice((*NO_OBJECTS, b"[" + value + b"]")),
    ),
    Reason.UNKNOWN_EVENT_TYPE: (
        _ANY,
        _edit(
            lambda fields, rng: fields | {"event_type": rng.choice(("page_veiwed", "order", "Purchase", ""))}
        ),
    ),
    Reason.UNKNOWN_VERSION: (
        _ANY,
        _edit(lambda fields, rng: fields | {"event_version": rng.choice((0, 2, 99))}),
    ),
    Reason.MISSING_FIELD: (tuple(REQUIRED), _edit(_without_a_field)),
    Reason.WRONG_TYPE: (
        tuple(WRONG_TYPES),
        _edit(lambda fields, _: fields | WRONG_TYPES[fields["event_type"]]),
    ),
    Reason.INVALID_VALUE: (
        tuple(INVALID_VALUES),
        _edit(lambda fields, _: fields | INVALID_VALUES[fields["event_type"]]),
    ),
    Reason.INVALID_TIMESTAMP: (
        _ANY,
        _edit(lambda fields, rng: fields | {"occurred_at": rng.choice(BAD_INSTANTS)}),
    ),
    Reason.FUTURE_TIMESTAMP: (
        _ANY,
        _edit(lambda fields, rng: fields | {"occurred_at": f"{rng.randrange(2090, 2200)}-01-01T00:00:00Z"}),
    ),
    Reason.UNKNOWN_CURRENCY: (
        _CURRENCY,
        _edit(lambda fields, rng: fields | {"currency": rng.choice(("XTS", "ZZZ", "QQQ"))}),
    ),
}
"""By reason: the event types it can befall, and what makes such a record of a good event's bytes."""

CONFLICTING_TYPES: Final = frozenset({*_VISITS, "log"} - {"login"})
REASONS: Final = (*SPOILERS, Reason.CONFLICTING_EVENT_ID)
"""All reasons that a producer can cause (but records that Kinesis would not take)."""


def make_conflicting(value: bytes) -> bytes:
    """Give an event of another content under the same `event_id`, with the same key, type and instant."""
    return msgspec.json.encode(_another(msgspec.json.decode(value)))
