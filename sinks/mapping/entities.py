"""Records of `silver.*` topics to rows, collapsed to the highest revision of each key. Pure.

The texts come from stored facts, so one with a NUL character is rare: it is replaced, not refused.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from sinks.records import decode_each, header, without_nul
from sinks.schema import silver_customers, silver_identities, silver_late_events, silver_products
from sinks.schema import silver_sessions as sessions_table
from sinks.staging import Staging, staging_of
from streams.engine.batch import Placed
from streams.silver import (
    REVISION,
    Customer,
    Identity,
    LateEvent,
    Product,
    Revision,
    SessionDay,
    decode_customers,
    decode_identities,
    decode_late_events,
    decode_products,
    decode_session_days,
)

Row = tuple[Any, ...]
State = TypeVar("State", Customer, Product, SessionDay)

CUSTOMERS: Final = staging_of(silver_customers, without={"orders", "total_spent", "updated_at"})
PRODUCTS: Final = staging_of(silver_products, without={"updated_at"})
SESSIONS: Final = staging_of(sessions_table, without={"updated_at"}, extra={"day": "date"})
IDENTITIES: Final = staging_of(silver_identities)
LATE_EVENTS: Final = staging_of(silver_late_events, without={"loaded_at"})
SESSION_DAYS: Final = Staging(
    "stage_session_days", {"visitor_id": "text", "day": "date", "epoch": "bigint", "offset": "bigint"}
)

_decode_customer = msgspec.json.Decoder(Customer).decode
_decode_product = msgspec.json.Decoder(Product).decode
_decode_session_day = msgspec.json.Decoder(SessionDay).decode
_decode_identity = msgspec.json.Decoder(Identity).decode
_decode_late_event = msgspec.json.Decoder(LateEvent).decode


class Entity(NamedTuple):
    """What one record says of one key; `rows` are several for the sessions of a day."""

    placed: Placed
    key: Row
    revision: Revision
    rows: list[Row]


class Entities(NamedTuple):
    """What records give: each key once, sorted by key; and records that are none of ours."""

    entities: list[Entity]
    foreign: list[tuple[Placed, str]]


def customers_of(records: Sequence[Placed]) -> Entities:
    """Give the rows of `silver_customers`; a tombstone has none."""
    return _collapse(_states(records, decode_customers, _decode_customer, _customer, _no_customer))


def products_of(records: Sequence[Placed]) -> Entities:
    """Give the rows of `silver_products`; a tombstone leaves a product that is not listed."""
    return _collapse(_states(records, decode_products, _decode_product, _product, _no_product))


def session_days_of(records: Sequence[Placed]) -> Entities:
    """Give the sessions of each visitor and day; a tombstone is a day without sessions."""
    return _collapse(_states(records, decode_session_days, _decode_session_day, _session_day, _no_sessions))


def identities_of(records: Sequence[Placed]) -> Entities:
    """Give the rows of `silver_identities`."""

    def entity(placed: Placed, link: Identity) -> Entity:
        row = (without_nul(link.anonymous_id), without_nul(link.customer_id), link.seen_at)
        return Entity(placed, row, Revision(0, -placed[1].offset), [row])

    return _collapse(_events(records, decode_identities, _decode_identity, entity))


def late_events_of(records: Sequence[Placed]) -> Entities:
    """Give the rows of `silver_late_events`; of repeats the first stays."""

    def entity(placed: Placed, late: LateEvent) -> Entity:
        row = (late.event_id, late.occurred_at, late.lateness_seconds, late.outcome)
        return Entity(placed, row[:1], Revision(0, -placed[1].offset), [row])

    return _collapse(_events(records, decode_late_events, _decode_late_event, entity))


def _customer(placed: Placed, state: Customer) -> Entity:
    revision = Revision(*state.revision)
    row = (
        state.customer_id,
        state.email,
        state.name,
        state.email_hash,
        state.email_domain,
        state.country,
        state.created_at,
        state.acquisition_channel,
        state.acquisition_campaign,
        state.marketing_opt_in,
        state.first_seen_at,
        state.last_seen_at,
        state.is_deleted,
        *revision,
        state.acquisition_at,
        state.acquisition_event_id,
    )
    return Entity(placed, (state.customer_id,), revision, [_storable(row)])


def _no_customer(placed: Placed, key: str, revision: Revision) -> Entity:
    return Entity(placed, (without_nul(key),), revision, [])


def _product(placed: Placed, state: Product) -> Entity:
    revision = Revision(*state.revision)
    row = (
        state.product_id,
        state.name,
        state.category,
        state.price,
        state.currency,
        state.stock,
        state.is_listed,
        state.listed_at,
        *revision,
    )
    return Entity(placed, (state.product_id,), revision, [_storable(row)])


def _no_product(placed: Placed, key: str, revision: Revision) -> Entity:
    row = (key, None, None, None, None, None, False, None, *revision)
    return Entity(placed, (key,), revision, [_storable(row)])


def _session_day(placed: Placed, state: SessionDay) -> Entity:
    rows = [
        (
            session.session_id,
            state.visitor_id,
            session.customer_id,
            session.started_at,
            session.ended_at,
            session.events,
            session.page_views,
            session.products_viewed,
            session.carts,
            session.searches,
            session.checkouts,
            session.purchases,
            session.revenue_base,
            session.channel,
            session.campaign,
            session.landing_page,
            session.exit_page,
            session.referrer,
            session.country,
            session.device,
            session.browser,
            session.is_bot,
            session.is_runaway,
            session.events_approximate,
            state.day,
        )
        for session in state.sessions
    ]
    key = (without_nul(state.visitor_id), state.day)
    return Entity(placed, key, Revision(*state.revision), [_storable(row) for row in rows])


def _no_sessions(placed: Placed, key: str, revision: Revision) -> Entity:
    visitor_id, _, day = key.rpartition("|")
    return Entity(placed, (without_nul(visitor_id), date.fromisoformat(day)), revision, [])


def _states(
    records: Iterable[Placed],
    decode_all: Callable[[bytes], list[State]],
    decode_one: Callable[[bytes], State],
    entity: Callable[[Placed, State], Entity],
    tombstone: Callable[[Placed, str, Revision], Entity],
) -> Entities:
    found = _events(
        [placed for placed in records if placed[1].value is not None], decode_all, decode_one, entity
    )
    for placed in records:
        _, record = placed
        if record.value is not None:
            continue
        try:
            revision = Revision.from_header(header(record, REVISION) or b"")
            found.entities.append(tombstone(placed, (record.key or b"").decode(), revision))
        except ValueError as error:
            found.foreign.append((placed, f"not a tombstone of ours: {error}"))
    return found


Event = TypeVar("Event")


def _events(
    records: Sequence[Placed],
    decode_all: Callable[[bytes], list[Event]],
    decode_one: Callable[[bytes], Event],
    entity: Callable[[Placed, Event], Entity],
) -> Entities:
    found = Entities([], [])
    values = [record.value or b"" for _, record in records]
    for placed, state in zip(records, decode_each(values, decode_all, decode_one), strict=True):
        if isinstance(state, Exception):
            found.foreign.append((placed, str(state)))
        else:
            found.entities.append(entity(placed, state))
    return found


def _collapse(found: Entities) -> Entities:
    """Keep the highest revision of each key (of equals the last), sorted by key."""
    kept: dict[Row, Entity] = {}
    for entity in found.entities:
        other = kept.get(entity.key)
        if other is None or entity.revision >= other.revision:
            kept[entity.key] = entity
    return Entities([kept[key] for key in sorted(kept, key=_sortable)], found.foreign)


def _sortable(key: Row) -> tuple[str, ...]:
    return tuple(part.isoformat() if isinstance(part, date | datetime) else str(part) for part in key)


def _storable(row: Row) -> Row:
    return tuple(without_nul(value) if isinstance(value, str) else value for value in row)
