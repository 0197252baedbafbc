"""Clean events: what `clean.*` topics carry. Checked, typed, enriched, with amounts in the base currency.

They are complete as facts: the sinks write them as they are, and every other stage reads them instead of the
raw events. Money is a decimal string, instants are RFC 3339 in UTC. Each record also carries the headers of
`streams.transport` and `CLEAN_HEADERS`.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

RAW_AT: Final = "raw_at"
"""Header: when the record reached its raw topic, milliseconds since 1970; with it hops can be timed."""


class VisitorEvent(Struct, kw_only=True, omit_defaults=True, gc=False):
    """An event of a visitor (`clean.events`, keyed by visitor): account, transaction or interaction.

    One flat type for all, so that a batch of any mixture is decoded in one call; fields that the event's
    type does not have are absent. `content_hash` is over the event as it was sent, without enrichment.
    `profile` holds the fields of an account event that were present: null clears, absent leaves.
    Amounts are as they were sent, never negative; `transaction_type` says which way the money went.
    """

    event_id: str
    event_type: str
    occurred_at: datetime
    arrived_at: datetime
    content_hash: int
    visitor_id: str
    customer_id: str | None = None
    anonymous_id: str | None = None
    is_late: bool = False
    lateness_seconds: float | None = None
    has_context: bool = False
    page_url: str | None = None
    referrer: str | None = None
    channel: str | None = None
    campaign: str | None = None
    country: str | None = None
    device: str | None = None
    browser: str | None = None
    is_bot: bool = False
    # account
    profile: dict[str, Any] | None = None
    # transactions
    order_id: str | None = None
    subscription_id: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    amount_base: Decimal | None = None
    category: str | None = None
    items: list[dict[str, Any]] | None = None
    plan: str | None = None
    monthly_amount: Decimal | None = None
    monthly_amount_base: Decimal | None = None
    payment_method: str | None = None
    discount: Decimal | None = None
    coupon: str | None = None
    rate: Decimal | None = None
    rate_date: date | None = None
    # interactions
    product_id: str | None = None
    query: str | None = None
    quantity: int | None = None
    rating: int | None = None


class CatalogueEvent(Struct, kw_only=True, omit_defaults=True, gc=False):
    """`product_listed` or `product_delisted` (`clean.products`, keyed by product)."""

    event_id: str
    event_type: str
    occurred_at: datetime
    arrived_at: datetime
    content_hash: int
    product_id: str
    is_late: bool = False
    lateness_seconds: float | None = None
    name: str | None = None
    category: str | None = None
    price: Decimal | None = None
    currency: str | None = None
    stock: int | None = None


class LogEvent(Struct, kw_only=True, omit_defaults=True, gc=False):
    """A line of a system's log (`clean.system-logs`)."""

    event_id: str
    occurred_at: datetime
    arrived_at: datetime
    content_hash: int
    service: str
    level: str
    message: str
    is_late: bool = False
    lateness_seconds: float | None = None
    latency_ms: float | None = None
    status_code: int | None = None
    trace_id: str | None = None


CUSTOMER_TYPES: Final = frozenset({"signup", "login", "logout", "profile_updated", "account_deleted"})
TRANSACTION_TYPES: Final = frozenset(
    {"purchase", "refund", "subscription_started", "subscription_renewed", "subscription_cancelled"}
)

encode_fact = msgspec.json.Encoder().encode
decode_visitor_event = msgspec.json.Decoder(VisitorEvent).decode
decode_catalogue_event = msgspec.json.Decoder(CatalogueEvent).decode
decode_log_event = msgspec.json.Decoder(LogEvent).decode
decode_visitor_events = msgspec.json.Decoder(list[VisitorEvent]).decode
decode_catalogue_events = msgspec.json.Decoder(list[CatalogueEvent]).decode
decode_log_events = msgspec.json.Decoder(list[LogEvent]).decode
