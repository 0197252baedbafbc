"""Records as the engine hands them over, built for tests."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from streams.facts import RAW_AT, CatalogueEvent, LogEvent, VisitorEvent, encode_fact
from streams.silver import REVISION, Customer, Product, Revision, Session, SessionDay, encode_silver
from streams.transport import TransportIdentity, to_headers

EPOCH_MS = 1_700_000_000_000
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class ARecord:
    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp: int = int(NOON.timestamp() * 1000) + 900
    offset: int = 0


def event_id(number: int) -> str:
    return str(UUID(int=number))


def identity(
    number: int, stream: str = "transaction-events", attempt: int = 0, at: datetime = NOON
) -> TransportIdentity:
    return TransportIdentity(
        stream, EPOCH_MS, "shardId-0", f"{number:056d}", 0, "key", int(at.timestamp() * 1000), attempt
    )


def raw(
    value: bytes, number: int, stream: str = "transaction-events", attempt: int = 0, at: datetime = NOON
) -> ARecord:
    return ARecord(value, b"key", to_headers(identity(number, stream, attempt, at)), offset=number)


def clean(event: VisitorEvent | CatalogueEvent | LogEvent, number: int, attempt: int = 0) -> ARecord:
    """A clean record that came from Kinesis as number `number`, with the same offset in Kafka."""
    headers = to_headers(identity(number, attempt=attempt, at=event.arrived_at))
    raw_at = int(event.arrived_at.timestamp() * 1000) + 400
    return ARecord(encode_fact(event), b"key", [*headers, (RAW_AT, b"%d" % raw_at)], offset=number)


def _visitor_event(number: int, event_type: str, customer: str, at: datetime, **fields: Any) -> VisitorEvent:
    content = repr((number, event_type, customer, at, sorted(fields.items())))
    return VisitorEvent(
        event_id=event_id(number),
        event_type=event_type,
        occurred_at=at,
        arrived_at=NOON,
        content_hash=int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest()),
        visitor_id=customer,
        customer_id=customer,
        **fields,
    )


def purchase(number: int, customer: str = "c1", amount: str = "10.00", at: datetime = NOON) -> VisitorEvent:
    return _visitor_event(
        number,
        "purchase",
        customer,
        at,
        order_id=f"o{number}",
        amount=Decimal(amount),
        currency="USD",
        amount_base=Decimal(amount),
        items=[{"product_id": "p1", "category": "books", "quantity": 1, "unit_price": amount}],
        payment_method="card",
    )


def refund(number: int, customer: str = "c1", amount: str = "4.00", at: datetime = NOON) -> VisitorEvent:
    return _visitor_event(
        number,
        "refund",
        customer,
        at,
        order_id="o1",
        amount=Decimal(amount),
        currency="USD",
        amount_base=Decimal(amount),
    )


def page_viewed(number: int, customer: str = "c1", at: datetime = NOON, **fields: Any) -> VisitorEvent:
    return _visitor_event(number, "page_viewed", customer, at, **fields)


def profile_updated(number: int, customer: str = "c1", at: datetime = NOON, **profile: Any) -> VisitorEvent:
    return _visitor_event(number, "profile_updated", customer, at, profile=profile)


def log_line(number: int, message: str = "all is well") -> LogEvent:
    return LogEvent(
        event_id=event_id(number),
        occurred_at=NOON,
        arrived_at=NOON,
        content_hash=number,
        service="api",
        level="info",
        message=message,
        latency_ms=1.5,
    )


def product_listed(number: int, product: str = "p1") -> CatalogueEvent:
    return CatalogueEvent(
        event_id=event_id(number),
        event_type="product_listed",
        occurred_at=NOON,
        arrived_at=NOON,
        content_hash=number,
        product_id=product,
        name="Book",
        category="books",
        price=Decimal("9.99"),
        currency="USD",
        stock=3,
    )


def customer_state(customer: str, revision: tuple[int, int], **fields: Any) -> ARecord:
    state = Customer(
        customer_id=customer,
        revision=revision,
        created_at=NOON,
        first_seen_at=NOON,
        last_seen_at=NOON + timedelta(hours=1),
        **fields,
    )
    return silver(state, customer, revision)


def product_state(product: str, revision: tuple[int, int], **fields: Any) -> ARecord:
    return silver(Product(product_id=product, revision=revision, **fields), product, revision)


def session_day(
    visitor: str, revision: tuple[int, int], *starts: datetime, events: int = 1, day: datetime = NOON
) -> ARecord:
    sessions = [
        Session(
            session_id=f"{visitor}-{start:%Y%m%d%H%M}",
            started_at=start,
            ended_at=start + timedelta(minutes=5),
            events=events,
            revenue_base=Decimal("1.50"),
        )
        for start in starts
    ]
    state = SessionDay(visitor_id=visitor, day=day.date(), revision=revision, sessions=sessions)
    return silver(state, f"{visitor}|{day:%Y-%m-%d}", revision)


def silver(state: msgspec.Struct, key: str, revision: tuple[int, int]) -> ARecord:
    headers = [(REVISION, Revision(*revision).to_header())]
    return ARecord(encode_silver(state), key.encode(), headers, offset=revision[1])


def tombstone(key: str, revision: tuple[int, int]) -> ARecord:
    return ARecord(None, key.encode(), [(REVISION, Revision(*revision).to_header())], offset=revision[1])
