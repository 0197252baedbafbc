"""Checked events to facts: typed, enriched, with amounts in the base currency."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from processors.clean.channels import Channels, host_of
from processors.clean.user_agents import USER_AGENT_CHARACTERS, parse_user_agent
from processors.rates import Rates, to_base
from streams.events import (
    CATALOGUE,
    CartAdded,
    CartRemoved,
    Context,
    CustomerEvent,
    Event,
    InteractionEvent,
    Item,
    Log,
    ProductDelisted,
    ProductInteraction,
    ProductListed,
    ProductReviewed,
    ProductSearched,
    Purchase,
    Refund,
    SubscriptionEvent,
    TransactionEvent,
    event_type_of,
)
from streams.facts import CatalogueEvent, LogEvent, VisitorEvent
from streams.topics import CLEAN_EVENTS, CLEAN_LOGS, CLEAN_PRODUCTS

Fact = VisitorEvent | CatalogueEvent | LogEvent
URL_CHARACTERS = 2048
UTM_CHARACTERS = 256
"""Code points that are kept; of context only."""
PROFILE_FIELDS = ("email", "name", "country", "birth_year", "marketing_opt_in")

_OF_VISITORS = (InteractionEvent, CustomerEvent, TransactionEvent)
_CART = (CartAdded, CartRemoved)

_encode_canonical = msgspec.json.Encoder(order="deterministic").encode


class Lateness(NamedTuple):
    """How an event stands to its source's watermark; `seconds` behind it, if it is late."""

    is_late: bool
    seconds: float | None


@dataclass(frozen=True)
class Enrichment:
    """The tables that facts are enriched from."""

    rates: Rates
    channels: Channels


def content_hash(event: Event) -> int:
    """Hash what the producer said, 64 bits signed; unknown fields and spelling of the JSON do not count."""
    return int.from_bytes(blake2b(_encode_canonical(event), digest_size=8).digest(), "big", signed=True)


def to_fact(
    event: Event, *, arrived_at: datetime, late: Lateness, enrichment: Enrichment
) -> tuple[str, str, Fact]:
    """Give the topic, the key and the fact of an event that `read_event` has accepted."""
    if isinstance(event, _OF_VISITORS):
        fact = _visitor_event(event, arrived_at, late)
        if event.context is not None:
            _add_context(fact, event.context, enrichment.channels)
        if isinstance(event, InteractionEvent):
            _add_interaction(fact, event)
        elif isinstance(event, CustomerEvent):
            fact.profile = _profile(event)
        else:
            _add_transaction(fact, event, enrichment.rates)
        return CLEAN_EVENTS, fact.visitor_id, fact
    if isinstance(event, Log):
        return CLEAN_LOGS, event.service, _log_event(event, arrived_at, late)
    assert isinstance(event, CATALOGUE)  # noqa: S101  (there are no others; for the type checker)
    return CLEAN_PRODUCTS, event.product_id, _catalogue_event(event, arrived_at, late)


def _visitor_event(
    event: InteractionEvent | CustomerEvent | TransactionEvent, arrived_at: datetime, late: Lateness
) -> VisitorEvent:
    visitor_id = event.customer_id or event.anonymous_id
    assert visitor_id is not None, "held by rules.problems_of"  # noqa: S101  (a rule of another module)
    return VisitorEvent(
        event_id=str(event.event_id),
        event_type=event_type_of(type(event)),
        occurred_at=event.occurred_at,
        arrived_at=arrived_at,
        content_hash=content_hash(event),
        visitor_id=visitor_id,
        customer_id=event.customer_id,
        anonymous_id=event.anonymous_id,
        is_late=late.is_late,
        lateness_seconds=late.seconds,
    )


def _profile(event: CustomerEvent) -> dict[str, Any]:
    profile = {f: v for f in PROFILE_FIELDS if (v := getattr(event, f)) is not UNSET}
    if event.country:
        profile["country"] = event.country.upper()
    return profile


def _log_event(event: Log, arrived_at: datetime, late: Lateness) -> LogEvent:
    return LogEvent(
        event_id=str(event.event_id),
        occurred_at=event.occurred_at,
        arrived_at=arrived_at,
        content_hash=content_hash(event),
        is_late=late.is_late,
        lateness_seconds=late.seconds,
        service=event.service,
        level=event.level,
        message=event.message,
        latency_ms=event.latency_ms,
        status_code=event.status_code,
        trace_id=event.trace_id,
    )


def _catalogue_event(
    event: ProductListed | ProductDelisted, arrived_at: datetime, late: Lateness
) -> CatalogueEvent:
    fact = CatalogueEvent(
        event_id=str(event.event_id),
        event_type=event_type_of(type(event)),
        occurred_at=event.occurred_at,
        arrived_at=arrived_at,
        content_hash=content_hash(event),
        is_late=late.is_late,
        lateness_seconds=late.seconds,
        product_id=event.product_id,
    )
    if isinstance(event, ProductListed):
        fact.name, fact.category = event.name, event.category
        fact.price, fact.currency, fact.stock = event.price, event.currency, event.stock
    return fact


def _add_context(fact: VisitorEvent, context: Context, channels: Channels) -> None:
    fact.has_context = True
    # Sessions keep these: a visitor's day must fit into one record. Bronze has them whole.
    fact.page_url = page_url = _cut(context.page_url, URL_CHARACTERS)
    fact.referrer = referrer = _cut(context.referrer, URL_CHARACTERS)
    fact.channel = channels.channel_of(
        _cut(context.utm_source, UTM_CHARACTERS),
        _cut(context.utm_medium, UTM_CHARACTERS),
        host_of(referrer),
        host_of(page_url),
    )
    fact.campaign = _cut(context.utm_campaign, UTM_CHARACTERS)
    fact.country = context.country.upper() if context.country else None
    if context.user_agent:
        fact.device, fact.browser, fact.is_bot = parse_user_agent(context.user_agent[:USER_AGENT_CHARACTERS])


def _cut(text: str | None, characters: int) -> str | None:
    return text if text is None else text[:characters]


def _add_transaction(fact: VisitorEvent, event: TransactionEvent, rates: Rates) -> None:
    rate = rates.find(event.currency, event.occurred_at.date())
    assert rate is not None, "held by rules.problems_of"  # noqa: S101  (a rule of another module)
    fact.currency, fact.rate, fact.rate_date = event.currency, rate.rate, rate.day
    if isinstance(event, Purchase):
        fact.order_id, fact.payment_method = event.order_id, event.payment_method
        fact.amount, fact.amount_base = event.amount, to_base(event.amount, rate)
        fact.discount, fact.coupon = event.discount, event.coupon
        fact.category = largest_category(event.items)
        fact.items = msgspec.to_builtins(event.items)
    elif isinstance(event, Refund):
        fact.order_id = event.order_id
        fact.amount, fact.amount_base = event.amount, to_base(event.amount, rate)
    elif isinstance(event, SubscriptionEvent):
        fact.subscription_id, fact.plan = event.subscription_id, event.plan
        fact.monthly_amount = event.monthly_amount
        fact.monthly_amount_base = to_base(event.monthly_amount, rate)


def largest_category(items: list[Item]) -> str:
    """Give the category of the item with the largest share of an order; ties go to the first product id."""

    def share(item: Item) -> tuple[Decimal, str]:
        return -item.quantity * item.unit_price, item.product_id

    return min(items, key=share).category


def _add_interaction(fact: VisitorEvent, event: Event) -> None:
    if isinstance(event, ProductInteraction):
        fact.product_id = event.product_id
    if isinstance(event, _CART):
        fact.quantity = event.quantity
    elif isinstance(event, ProductReviewed):
        fact.rating = event.rating
    elif isinstance(event, ProductSearched):
        fact.query = event.query
