"""Clean events to rows of the fact tables. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Table

from sinks.records import Failure, decode_each, holds_nul
from sinks.schema import (
    silver_customer_events,
    silver_product_events,
    silver_system_logs,
    silver_transactions,
)
from sinks.staging import Staging, staging_of
from streams.dead_letters import Reason
from streams.engine.batch import Placed, Record
from streams.events import STREAM_OF_TYPE
from streams.facts import (
    CUSTOMER_TYPES,
    RAW_AT,
    TRANSACTION_TYPES,
    CatalogueEvent,
    LogEvent,
    VisitorEvent,
    decode_catalogue_event,
    decode_catalogue_events,
    decode_log_event,
    decode_log_events,
    decode_visitor_event,
    decode_visitor_events,
)
from streams.topics import CLEAN_EVENTS, CLEAN_LOGS, CLEAN_PRODUCTS
from streams.transport import TransportIdentity, from_header_map

AnyEvent = VisitorEvent | CatalogueEvent | LogEvent

STAGING: Final[dict[str, Staging]] = {
    table.name: staging_of(
        table,
        without={"loaded_at"},
        extra={"number": "integer", "raw_at_ms": "bigint", "clean_at_ms": "bigint"},
    )
    for table in (silver_transactions, silver_product_events, silver_customer_events, silver_system_logs)
}
PERSONAL: Final = frozenset({"email", "name", "birth_year"})
"""Fields of a profile whose values are not stored with the fact."""

_PRODUCT_EVENT: Final = list(STAGING[silver_product_events.name].types)
_VISIT: Final = itemgetter(*map(_PRODUCT_EVENT.index, ("visitor_id", "channel", "customer_id")))
_NO_CONTEXT: Final = (None, None, None, None, None, None, None, None, False)
_DECODERS: Final[dict[str, tuple[Callable[[bytes], list[Any]], Callable[[bytes], Any]]]] = {
    CLEAN_EVENTS: (decode_visitor_events, decode_visitor_event),
    CLEAN_PRODUCTS: (decode_catalogue_events, decode_catalogue_event),
    CLEAN_LOGS: (decode_log_events, decode_log_event),
}


class Fact(NamedTuple):
    """A row for a fact table, in the order of its staging table, and what a dead letter of it needs."""

    table: str
    row: tuple[Any, ...]
    identity: TransportIdentity
    number: int  # among the records that are written together
    event_id: str
    event_type: str
    occurred_at: datetime


class Facts(NamedTuple):
    """What records give: facts; facts that cannot be stored; records that are none of ours."""

    facts: list[Fact]
    refused: list[tuple[Fact, Failure]]
    foreign: list[tuple[Placed, str]]


def facts_of(topic: str, records: Sequence[Placed]) -> Facts:
    """Give the facts of records of a `clean.*` topic."""
    records = [placed for placed in records if placed[1].value is not None]
    values = [record.value or b"" for _, record in records]
    decode_all, decode_one = _DECODERS[topic]
    found = Facts([], [], [])
    events = decode_each(values, decode_all, decode_one)
    for number, (placed, value, event) in enumerate(zip(records, values, events, strict=True)):
        if isinstance(event, Exception):
            found.foreign.append((placed, str(event)))
            continue
        try:
            fact = fact_of(number, placed[1], event)
        except (ValueError, KeyError) as error:
            found.foreign.append((placed, f"not a clean event of ours: {error}"))
            continue
        # An escaped NUL is legal JSON, but no text of Postgres can hold it.
        if rb"\u0000" in value and (holds_nul(fact.row) or any(map(_holds_escaped_nul, fact.row))):
            failure = Failure(
                Reason.REFUSED_BY_SINK, "a text holds the NUL character, which cannot be stored"
            )
            found.refused.append((fact, failure))
        else:
            found.facts.append(fact)
    return found


def anonymous_visits(facts: Iterable[Fact]) -> dict[str, tuple[datetime, str]]:
    """Give `(occurred_at, event_id)` of each visitor's earliest fact that has a context and no customer."""
    visits: dict[str, tuple[datetime, str]] = {}
    for fact in facts:
        if fact.table == silver_product_events.name:
            visitor, channel, customer = _VISIT(fact.row)
            if customer is None and channel is not None:
                visit = (fact.row[2], fact.event_id)
                visits[visitor] = min(visits.get(visitor, visit), visit)
    return visits


def fact_of(number: int, record: Record, event: AnyEvent) -> Fact:
    """Give the fact of one clean event; its number tells it from others that are written with it.

    Raises:
        KeyError: the event's type is unknown.
        ValueError: a header is missing.
    """
    event_type = "log" if isinstance(event, LogEvent) else event.event_type
    stream = STREAM_OF_TYPE[event_type]
    headers = dict(record.headers)
    identity = from_header_map(stream, headers)
    if isinstance(event, LogEvent):
        table, specific = silver_system_logs, _log(event)
    elif isinstance(event, CatalogueEvent):
        table, specific = silver_product_events, _catalogue(event)
    else:
        table, specific = _visitor(event)
    raw_at = headers.get(RAW_AT)
    row = (
        event.event_id,
        signed_64(event.content_hash),
        event.occurred_at,
        event.arrived_at,
        *identity[:5],
        event.is_late,
        *specific,
        number,
        int(raw_at) if raw_at else None,
        record.timestamp,
    )
    return Fact(table.name, row, identity, number, event.event_id, event_type, event.occurred_at)


def signed_64(number: int) -> int:
    """Give a 64-bit hash as Postgres' signed bigint has it."""
    return (number + 2**63) % 2**64 - 2**63


def changed_fields(profile: dict[str, Any]) -> dict[str, Any]:
    """Give the changed fields of a profile without personal values: of those only `set` or `cleared`."""
    return {
        name: ("cleared" if value is None else "set") if name in PERSONAL else value
        for name, value in profile.items()
    }


def _visitor(event: VisitorEvent) -> tuple[Table, tuple[Any, ...]]:
    context = (
        event.visitor_id,
        event.page_url,
        event.referrer,
        event.channel,
        event.campaign,
        event.country,
        event.device,
        event.browser,
        event.is_bot,
    )
    if event.event_type in TRANSACTION_TYPES:
        return silver_transactions, context + _transaction(event)
    if event.event_type in CUSTOMER_TYPES:
        changed = None if event.profile is None else _json(changed_fields(event.profile))
        account = (event.event_type, event.customer_id, event.anonymous_id, changed)
        return silver_customer_events, context + account
    interaction = (
        event.event_type,
        event.customer_id,
        event.anonymous_id,
        event.product_id,
        event.query,
        event.quantity,
        event.rating,
    )
    return silver_product_events, context + interaction


def _transaction(event: VisitorEvent) -> tuple[Any, ...]:
    return (
        event.event_type,
        event.order_id,
        event.subscription_id,
        event.customer_id,
        event.amount,
        event.currency,
        event.amount_base,
        event.category,
        None if event.items is None else _json(event.items),
        event.plan,
        event.monthly_amount,
        event.monthly_amount_base,
        event.payment_method,
        event.discount,
        event.coupon,
        event.rate,
        event.rate_date,
    )


def _catalogue(event: CatalogueEvent) -> tuple[Any, ...]:
    return (*_NO_CONTEXT, event.event_type, None, None, event.product_id, None, None, None)


def _log(event: LogEvent) -> tuple[Any, ...]:
    return (event.service, event.level, event.message, event.latency_ms, event.status_code, event.trace_id)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _holds_escaped_nul(value: object) -> bool:
    # Of a row's texts only the JSON ones can hold an escape: an even number of backslashes before it is none.
    return isinstance(value, str) and value[:1] in "[{" and "\\u0000" in value.replace("\\\\", "")
