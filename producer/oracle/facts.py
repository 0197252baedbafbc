"""The row that an accepted event becomes."""

import json
from collections import defaultdict
from datetime import UTC
from typing import Any, Final

from msgspec import UNSET

from producer.oracle.rows import CustomerEvent, FactRow, ProductEvent, SystemLog, Transaction
from producer.oracle.truth import Money, Seen, what_was_seen
from streams import events as sent
from streams.events import CATALOGUE, Event, Item, Log, Stream, event_type_of

PROFILE: Final = ("email", "name", "country", "birth_year", "marketing_opt_in")
PERSONAL: Final = frozenset({"email", "name", "birth_year"})

_NOBODY: Final = Seen()


def fact_of(stream: Stream, event: Event, money: Money) -> FactRow:
    """Give the row of an event.

    Raises:
        OracleError: the event is none that the shop makes.
    """
    if isinstance(event, Log):
        return SystemLog(
            event.event_id,
            stream,
            event.occurred_at,
            event.service,
            event.level,
            event.message,
            event.latency_ms,
            event.status_code,
            event.trace_id,
        )
    nobodys = isinstance(event, CATALOGUE)
    common = (
        event.event_id,
        stream,
        event.occurred_at,
        None if nobodys else visitor_of(event),
        *(_NOBODY if nobodys else what_was_seen(event.context)),
        event_type_of(type(event)),
    )
    if isinstance(event, sent.TransactionEvent):
        return Transaction(*common, event.customer_id, event.currency, **_money_fields(event, money))  # type: ignore[arg-type]  # mypy takes the unpacked tuple for one of unions
    if isinstance(event, sent.CustomerEvent):
        return CustomerEvent(*common, event.customer_id, event.anonymous_id, _changed(event))  # type: ignore[arg-type]  # likewise
    return ProductEvent(
        *common,
        None if nobodys else event.customer_id,
        None if nobodys else event.anonymous_id,
        product_id=getattr(event, "product_id", None),
        query=getattr(event, "query", None),
        quantity=getattr(event, "quantity", None),
        rating=getattr(event, "rating", None),
    )


def visitor_of(event: Event) -> str | None:
    """Give whose event it is: the customer's, else the visitor's before login."""
    return event.anonymous_id if event.customer_id is None else event.customer_id


def profile_of(event: sent.CustomerEvent) -> dict[str, Any]:
    """Give the fields of the profile that an event sets, or clears by None."""
    present = ((name, getattr(event, name)) for name in PROFILE)
    return {name: value for name, value in present if value is not UNSET}


def _changed(event: sent.CustomerEvent) -> str:
    hidden = {True: "cleared", False: "set"}
    found = {
        name: hidden[value is None] if name in PERSONAL else value
        for name, value in profile_of(event).items()
    }
    if found.get("country"):
        found["country"] = found["country"].upper()
    return json.dumps(found)


def _money_fields(event: sent.TransactionEvent, money: Money) -> dict[str, Any]:
    rate = money.rate(event.currency, event.occurred_at.astimezone(UTC).date())
    found: dict[str, Any] = {"rate": rate.rate, "rate_date": rate.day}
    for name in ("order_id", "subscription_id", "amount", "plan", "monthly_amount"):
        found[name] = getattr(event, name, None)
    for name in ("amount", "monthly_amount"):
        if found[name] is not None:
            found[f"{name}_base"] = round(found[name] * rate.rate, 2)
    if isinstance(event, sent.Purchase):
        found |= {
            "category": _category(event.items),
            "items": json.dumps([_item(item) for item in event.items]),
            "payment_method": event.payment_method,
            "discount": event.discount,
            "coupon": event.coupon,
        }
    return found


def _item(item: Item) -> dict[str, Any]:
    return {
        "product_id": item.product_id,
        "category": item.category,
        "quantity": item.quantity,
        "unit_price": str(item.unit_price),
    }


def _category(items: list[Item]) -> str:
    """Give the category of the item with the largest share of the order; ties go to the first product id."""
    shares = defaultdict(list)
    for item in items:
        shares[item.unit_price * item.quantity].append(item)
    return min(shares[max(shares)], key=lambda item: item.product_id).category
