"""Subscriptions: started, renewed by the month, moved to another plan, cancelled or let lapse."""

import random
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

from producer.shop.draws import DAY, MINUTE, draw_uuid, instant
from producer.shop.places import in_currency
from producer.shop.population import Customer
from streams.events import (
    Event,
    SubscriptionCancelled,
    SubscriptionEvent,
    SubscriptionRenewed,
    SubscriptionStarted,
)

PLANS: Final = (("basic", Decimal("9.00")), ("plus", Decimal("19.00")), ("pro", Decimal("39.00")))
CANCEL: Final = 0.07
LAPSE: Final = 0.025
MOVE: Final = 0.05
RETURN: Final = 0.25


def next_month(at: datetime) -> datetime:
    """Give the same day of the next month; the 29th and later become the 28th."""
    year, month = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)
    return at.replace(year=year, month=month, day=min(at.day, 28))


def subscription_events(
    rng: random.Random, customer: Customer, subscription_id: str, start: float, end: float
) -> Iterator[tuple[float, Event]]:
    """Give the life of a subscription from its start to an end; some who leave come back with a new one.

    In a history of less than a month the first step is cancelled or not within it.
    """
    plan = rng.choice((0, 0, 0, 1, 1, 2))
    at = start

    def step(event_class: type[SubscriptionEvent]) -> tuple[float, Event]:
        name, usd = PLANS[plan]
        currency = customer.country.currency
        return at, event_class(
            event_id=draw_uuid(rng),
            occurred_at=instant(at),
            customer_id=customer.customer_id,
            subscription_id=subscription_id,
            plan=name,
            monthly_amount=in_currency(usd, currency),
            currency=currency,
        )

    yield step(SubscriptionStarted)
    month = min(30 * DAY, (end - start) / 2) if end - start < 30 * DAY else None
    while at < end:
        due = at + month if month else next_month(instant(at)).timestamp() + rng.uniform(0, 5) * MINUTE
        chance = rng.random()
        if chance < CANCEL:
            at += rng.uniform(0.1, 0.9) * (due - at)
            yield step(SubscriptionCancelled)
            break
        if chance < CANCEL + LAPSE:
            break
        at = due
        if rng.random() < MOVE:
            plan = min(2, plan + 1) if rng.random() < 0.7 else max(0, plan - 1)
        yield step(SubscriptionRenewed)
    if at < end and rng.random() < RETURN:
        yield from subscription_events(
            rng, customer, subscription_id + "r", at + rng.uniform(45, 120) * DAY, end
        )
