"""Customers and products: each one's events in the order they happened, and what they leave."""

import hmac
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from producer.oracle.facts import PERSONAL, profile_of
from producer.oracle.rows import Customer, FactRow, Product, SystemLog, Transaction
from streams import events as sent
from streams.events import Event

_SIGNS: Final = {"purchase": 1, "refund": -1}


class Arrival(NamedTuple):
    """An event that says how its visitor came; the first one of a customer is the acquisition."""

    occurred_at: datetime
    event_id: UUID
    channel: str | None
    campaign: str | None


class _Customer:
    """What is remembered of a customer; by event, so that a repeated one changes nothing."""

    def __init__(self) -> None:
        self.account: dict[UUID, sent.CustomerEvent] = {}
        self.money: dict[UUID, tuple[str, Decimal]] = {}
        self.first_seen_at: datetime | None = None
        self.last_seen_at: datetime | None = None
        self.devices: set[str] = set()


class Customers:
    """Collects the events of customers, in any order; memory grows with customers and visitors."""

    def __init__(self, email_secret: bytes) -> None:
        self._secret = email_secret
        self._customers: dict[str, _Customer] = {}
        self._arrivals: dict[str, Arrival] = {}
        """The first of each visitor, a customer or not."""

    def add(self, event: Event, fact: FactRow) -> None:
        """Take an accepted event and its row."""
        if isinstance(fact, SystemLog) or fact.visitor_id is None:
            return
        if event.context is not None:
            arrival = Arrival(fact.occurred_at, fact.event_id, fact.channel, fact.campaign)
            known = self._arrivals.get(fact.visitor_id)
            if known is None or arrival[:2] < known[:2]:
                self._arrivals[fact.visitor_id] = arrival
        if fact.customer_id is None:
            return
        customer = self._customers.setdefault(fact.customer_id, _Customer())
        at = fact.occurred_at
        customer.first_seen_at = min(at, customer.first_seen_at or at)
        customer.last_seen_at = max(at, customer.last_seen_at or at)
        if event.anonymous_id is not None:
            customer.devices.add(event.anonymous_id)
        if isinstance(event, sent.CustomerEvent):
            customer.account[event.event_id] = event
        if isinstance(fact, Transaction) and fact.amount_base is not None:
            customer.money[fact.event_id] = fact.transaction_type, fact.amount_base

    def rows(self) -> list[Customer]:
        """Give the rows of all customers, by id."""
        return [self._row(name, self._customers[name]) for name in sorted(self._customers)]

    def _row(self, customer_id: str, customer: _Customer) -> Customer:
        assert customer.first_seen_at is not None  # noqa: S101  (each has an event; for the type checker)
        assert customer.last_seen_at is not None  # noqa: S101  (likewise)
        profile: dict[str, Any] = {}
        is_deleted = False
        signups = []
        for event in sorted(customer.account.values(), key=lambda e: (e.occurred_at, e.event_id)):
            profile |= profile_of(event)
            if isinstance(event, sent.Signup):
                is_deleted = False
                signups.append(event.occurred_at)
            elif isinstance(event, sent.AccountDeleted):
                is_deleted = True
                profile |= dict.fromkeys(PERSONAL)
        email, country = profile.get("email"), profile.get("country")
        arrivals = (self._arrivals.get(visitor) for visitor in (customer_id, *customer.devices))
        arrival = min((a for a in arrivals if a), default=None, key=lambda a: a[:2])
        return Customer(
            customer_id=customer_id,
            email=email,
            name=profile.get("name"),
            email_hash=email and hmac.digest(self._secret, email.lower().encode(), "sha256").hex(),
            email_domain=email and email.lower().split("@")[-1],
            country=country and country.upper(),
            created_at=signups[0] if signups else customer.first_seen_at,
            acquisition_channel=arrival.channel if arrival else None,
            acquisition_campaign=arrival.campaign if arrival else None,
            marketing_opt_in=profile.get("marketing_opt_in"),
            first_seen_at=customer.first_seen_at,
            last_seen_at=customer.last_seen_at,
            orders=sum(kind == "purchase" for kind, _ in customer.money.values()),
            total_spent=sum((_SIGNS[kind] * base for kind, base in customer.money.values()), Decimal(0)),
            is_deleted=is_deleted,
            acquisition_at=arrival.occurred_at if arrival else None,
            acquisition_event_id=arrival.event_id if arrival else None,
        )


class Products:
    """Collects the events of the catalogue, in any order."""

    def __init__(self) -> None:
        self._events: dict[str, dict[UUID, sent.ProductListed | sent.ProductDelisted]] = {}

    def add(self, event: Event) -> None:
        """Take an accepted event; one that is not of the catalogue is passed over."""
        if isinstance(event, sent.ProductListed | sent.ProductDelisted):
            self._events.setdefault(event.product_id, {})[event.event_id] = event

    def rows(self) -> list[Product]:
        """Give the rows of all products, by id."""
        return [self._row(product_id) for product_id in sorted(self._events)]

    def _row(self, product_id: str) -> Product:
        events = sorted(self._events[product_id].values(), key=lambda e: (e.occurred_at, e.event_id))
        listings = [event for event in events if isinstance(event, sent.ProductListed)]
        last = listings[-1] if listings else None
        return Product(
            product_id=product_id,
            name=last.name if last else None,
            category=last.category if last else None,
            price=last.price if last else None,
            currency=last.currency if last else None,
            stock=last.stock if last else None,
            is_listed=isinstance(events[-1], sent.ProductListed),
            listed_at=listings[0].occurred_at if listings else None,
        )
