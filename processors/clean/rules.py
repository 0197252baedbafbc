"""What an event must hold to that its type cannot say: dates, amounts, currencies, who it was."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from processors.outcomes import Refusal
from processors.rates import Rates
from streams.dead_letters import FieldError, Reason
from streams.events import (
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
MONEY_DECIMALS: Final = 4
MONEY_LIMIT: Final = Decimal(10) ** 10
"""Amounts and their sums are stored as numeric(18,4): ten thousand of the largest still fit."""

Problem = tuple[Reason, FieldError]


def check_event(event: Event, arrived_at: datetime, rates: Rates) -> Refusal | None:
    """Check an event of the right type; give all that is wrong with it, or None.

    Args:
        event: as it was decoded.
        arrived_at: when Kinesis took it; the future is measured from there.
        rates: a currency without a rate is unknown.
    """
    problems = list(_problems(event, arrived_at, rates))
    return Refusal(problems[0][0], [error for _reason, error in problems]) if problems else None


def _problems(event: Event, arrived_at: datetime, rates: Rates) -> Iterator[Problem]:
    if event.event_version != KNOWN_VERSION:
        yield _problem(
            Reason.UNKNOWN_VERSION,
            "$.event_version",
            f"version {event.event_version} is not known, {KNOWN_VERSION} is",
        )
    yield from _time_problems(event, arrived_at)
    if isinstance(event, InteractionEvent) and event.customer_id is None and event.anonymous_id is None:
        yield _problem(Reason.MISSING_FIELD, "$.anonymous_id", "this or customer_id is required")
    if isinstance(event, TransactionEvent | ProductListed):
        day = event.occurred_at.date()
        rate = rates.find(event.currency, day)
        if rate is None:
            yield _problem(Reason.UNKNOWN_CURRENCY, "$.currency", f"there is no rate for {event.currency}")
        limit = MONEY_LIMIT / max(rate.rate, Decimal(1)) if rate else MONEY_LIMIT
        for path, amount, smallest in _amounts(event):
            yield from _amount_problems(path, amount, smallest, limit)


def _time_problems(event: Event, arrived_at: datetime) -> Iterator[Problem]:
    path = "$.occurred_at"
    try:
        occurred_at = event.occurred_at.astimezone(UTC)
    except OverflowError:
        yield _problem(Reason.INVALID_TIMESTAMP, path, "outside the years 1 to 9999 in UTC")
        return
    if occurred_at - arrived_at > FUTURE_LIMIT:
        yield _problem(
            Reason.FUTURE_TIMESTAMP,
            path,
            f"over {FUTURE_LIMIT.days} day ahead of its arrival at {arrived_at}",
        )


def _amounts(event: Event) -> Iterator[tuple[str, Decimal, str]]:
    """Give each amount with its path and what it must be: `>= 0` or `> 0`."""
    if isinstance(event, Purchase):
        yield "$.amount", event.amount, ">= 0"
        if event.discount is not None:
            yield "$.discount", event.discount, ">= 0"
        for i, item in enumerate(event.items):
            yield f"$.items[{i}].unit_price", item.unit_price, ">= 0"
    elif isinstance(event, Refund):
        yield "$.amount", event.amount, "> 0"
    elif isinstance(event, SubscriptionEvent):
        yield "$.monthly_amount", event.monthly_amount, ">= 0"
    elif isinstance(event, ProductListed):
        yield "$.price", event.price, ">= 0"


def _amount_problems(path: str, amount: Decimal, wanted: str, limit: Decimal) -> Iterator[Problem]:
    if not amount.is_finite():
        yield _problem(Reason.INVALID_VALUE, path, "not a finite number")
    elif amount < 0 or (amount == 0 and wanted == "> 0"):
        yield _problem(Reason.INVALID_VALUE, path, f"must be {wanted}")
    elif amount >= limit:
        yield _problem(Reason.INVALID_VALUE, path, f"must be below {MONEY_LIMIT:f} in the base currency too")
    elif amount != round(amount, MONEY_DECIMALS):
        yield _problem(Reason.INVALID_VALUE, path, f"more than {MONEY_DECIMALS} decimal places")


def _problem(reason: Reason, path: str, message: str) -> Problem:
    return reason, FieldError(path, message)
