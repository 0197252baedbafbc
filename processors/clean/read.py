"""A record of a stream to a checked event, or a refusal that says all that is wrong with it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from processors.clean.decode import decode_event
from processors.clean.explain import Explained
from processors.clean.rules import problems_of
from processors.outcomes import Refusal, refuse
from processors.rates import Rates
from streams.events import Event, ProductListed, Purchase, Refund, Stream, SubscriptionEvent, TransactionEvent

_SCALE: Final = Decimal("0.0001")
_WITH_MONEY: Final = (TransactionEvent, ProductListed)


def read_event(stream: Stream, value: bytes, arrived_at: datetime, rates: Rates) -> Event | Refusal:
    """Read a record: the event, in one spelling (`in_one_spelling`), or why it cannot be taken.

    Args:
        stream: where it came from.
        value: its bytes.
        arrived_at: when Kinesis took it; the future is measured from there.
        rates: a currency without a rate is unknown.
    """
    event = decode_event(stream, value)
    if isinstance(event, Explained):
        more = [] if event.event is None else problems_of(event.event, arrived_at, rates)
        return refuse([*event.problems, *more])
    problems = problems_of(event, arrived_at, rates)
    if problems:
        return refuse(problems)
    return in_one_spelling(event)


def in_one_spelling(event: Event) -> Event:
    """Change an event so that equal contents are equal: instants in UTC, amounts with four decimals.

    A producer that sends 12.5 again as "12.50", or 13:00+01:00 as 12:00Z, has said the same.
    """
    if event.occurred_at.tzinfo is not UTC:
        event.occurred_at = event.occurred_at.astimezone(UTC)
    if isinstance(event, _WITH_MONEY):
        _spell_amounts(event)
    return event


def _spell_amounts(event: Event) -> None:
    if isinstance(event, Purchase):
        event.amount = _four_decimals(event.amount)
        if event.discount is not None:
            event.discount = _four_decimals(event.discount)
        for item in event.items:
            item.unit_price = _four_decimals(item.unit_price)
    elif isinstance(event, Refund):
        event.amount = _four_decimals(event.amount)
    elif isinstance(event, SubscriptionEvent):
        event.monthly_amount = _four_decimals(event.monthly_amount)
    elif isinstance(event, ProductListed):
        event.price = _four_decimals(event.price)


def _four_decimals(amount: Decimal) -> Decimal:
    return amount.quantize(_SCALE)
