"""What an event must hold to that its type cannot say: dates, amounts, currencies, who it was.

A field that could not be read is UNSET; whatever would be said of it is left out.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from msgspec import UNSET

from processors.outcomes import Problem, problem
from processors.rates import Rates
from streams.dead_letters import Reason
from streams.events import (
    EVENT_CLASSES,
    Event,
    InteractionEvent,
    ProductListed,
    Purchase,
    Refund,
    SubscriptionEvent,
    TransactionEvent,
)

KNOWN_VERSION: Final = 1
FUTURE_LIMIT: Final = timedelta(days=1)
FIRST_INSTANT: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""No computer has seen an earlier event, and what counts days from here stays in range."""
LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)
MONEY_DECIMALS: Final = 4
MONEY_LIMIT: Final = Decimal(10) ** 10
"""Amounts and their sums are stored as numeric(18,4): ten thousand of the largest still fit."""

_INTERACTIONS: Final = frozenset(
    c for c in EVENT_CLASSES["product-events"] if issubclass(c, InteractionEvent)
)


def problems_of(event: Event, arrived_at: datetime, rates: Rates) -> list[Problem]:
    """Give all that is wrong with an event of the right type.

    Args:
        event: as it was decoded, or what could be read of it.
        arrived_at: when Kinesis took it; the future is measured from there.
        rates: a currency without a rate is unknown.
    """
    problems = [] if event.event_version == KNOWN_VERSION else _version_problems(event.event_version)
    occurred_at: Any = event.occurred_at
    if occurred_at is not UNSET:
        problems += _time_problems(occurred_at, arrived_at)
    if type(event) in _INTERACTIONS:  # nearly all events are
        if event.customer_id is None and event.anonymous_id is None:
            problems.append(
                problem(Reason.MISSING_FIELD, "$.anonymous_id", "this or customer_id is required")
            )
    elif isinstance(event, TransactionEvent | ProductListed):
        problems += _money_problems(event, rates)
    return problems


def _version_problems(version: Any) -> list[Problem]:
    if version is UNSET:
        return []
    message = f"version {version} is not known, {KNOWN_VERSION} is"
    return [problem(Reason.UNKNOWN_VERSION, "$.event_version", message)]


def _time_problems(occurred_at: datetime, arrived_at: datetime) -> list[Problem]:
    path = "$.occurred_at"
    if occurred_at - arrived_at > FUTURE_LIMIT:
        return [
            problem(
                Reason.FUTURE_TIMESTAMP,
                path,
                f"over {FUTURE_LIMIT.days} day ahead of its arrival at {arrived_at}",
            )
        ]
    if occurred_at < FIRST_INSTANT:
        return [problem(Reason.INVALID_TIMESTAMP, path, f"before {FIRST_INSTANT.year}")]
    if occurred_at > LAST_INSTANT:
        return [problem(Reason.INVALID_TIMESTAMP, path, f"after {LAST_INSTANT.year} in UTC")]
    return []


def _money_problems(event: TransactionEvent | ProductListed, rates: Rates) -> Iterator[Problem]:
    currency: Any = event.currency
    occurred_at: Any = event.occurred_at
    rate = None
    if currency is not UNSET:
        day = FIRST_INSTANT.date() if occurred_at is UNSET else utc_date(occurred_at)
        rate = rates.find(currency, day)
        if rate is None:
            yield problem(Reason.UNKNOWN_CURRENCY, "$.currency", f"there is no rate for {currency}")
    limit = MONEY_LIMIT / max(rate.rate, Decimal(1)) if rate else MONEY_LIMIT
    for path, amount, wanted in _amounts(event):
        if amount is not UNSET and amount is not None:
            yield from _amount_problems(path, amount, wanted, limit)


def utc_date(instant: datetime) -> Any:
    """Give the day in UTC of an instant, which rates are looked up by."""
    try:
        return instant.astimezone(UTC).date()
    except OverflowError:  # outside the years 1 to 9999: refused for that anyway
        return instant.date()


def _amounts(event: Event) -> Iterator[tuple[str, Any, str]]:
    """Give each amount with its path and what it must be: `>= 0` or `> 0`."""
    if isinstance(event, Purchase):
        yield "$.amount", event.amount, ">= 0"
        items: Any = event.items
        for i, item in enumerate(items if items is not UNSET else ()):
            if item is not UNSET:
                yield f"$.items[{i}].unit_price", item.unit_price, ">= 0"
        yield "$.discount", event.discount, ">= 0"
    elif isinstance(event, Refund):
        yield "$.amount", event.amount, "> 0"
    elif isinstance(event, SubscriptionEvent):
        yield "$.monthly_amount", event.monthly_amount, ">= 0"
    elif isinstance(event, ProductListed):
        yield "$.price", event.price, ">= 0"


def _amount_problems(path: str, amount: Decimal, wanted: str, limit: Decimal) -> Iterator[Problem]:
    # In this order: a huge exponent is never written out, and only what is small is rounded.
    if not amount.is_finite():
        yield problem(Reason.INVALID_VALUE, path, "not a finite number")
    elif amount.is_signed() or (amount == 0 and wanted == "> 0"):
        yield problem(Reason.INVALID_VALUE, path, f"must be {wanted}")
    elif amount >= limit:
        yield problem(Reason.INVALID_VALUE, path, f"must be below {MONEY_LIMIT:f} in the base currency too")
    elif amount != round(amount, MONEY_DECIMALS):
        yield problem(Reason.INVALID_VALUE, path, f"more than {MONEY_DECIMALS} decimal places")
