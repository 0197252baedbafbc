"""Rows of silver as far as the events determine them: fields are named as the columns, in any order."""

from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID


class Transaction(NamedTuple):
    """A row of `silver_transactions`; `items` is JSON."""

    event_id: UUID
    stream: str
    occurred_at: datetime
    visitor_id: str
    page_url: str | None
    referrer: str | None
    channel: str | None
    campaign: str | None
    country: str | None
    device: str | None
    browser: str | None
    is_bot: bool
    transaction_type: str
    customer_id: str
    currency: str
    rate: Decimal
    rate_date: date
    order_id: str | None = None
    subscription_id: str | None = None
    amount: Decimal | None = None
    amount_base: Decimal | None = None
    category: str | None = None
    items: str | None = None
    plan: str | None = None
    monthly_amount: Decimal | None = None
    monthly_amount_base: Decimal | None = None
    payment_method: str | None = None
    discount: Decimal | None = None
    coupon: str | None = None


class ProductEvent(NamedTuple):
    """A row of `silver_product_events`; a catalogue event is nobody's, so it has no visitor."""

    event_id: UUID
    stream: str
    occurred_at: datetime
    visitor_id: str | None
    page_url: str | None
    referrer: str | None
    channel: str | None
    campaign: str | None
    country: str | None
    device: str | None
    browser: str | None
    is_bot: bool
    event_type: str
    customer_id: str | None
    anonymous_id: str | None
    product_id: str | None = None
    query: str | None = None
    quantity: int | None = None
    rating: int | None = None


class CustomerEvent(NamedTuple):
    """A row of `silver_customer_events`; `changed` is JSON, of personal fields only `set` or `cleared`."""

    event_id: UUID
    stream: str
    occurred_at: datetime
    visitor_id: str
    page_url: str | None
    referrer: str | None
    channel: str | None
    campaign: str | None
    country: str | None
    device: str | None
    browser: str | None
    is_bot: bool
    event_type: str
    customer_id: str
    anonymous_id: str | None
    changed: str


class SystemLog(NamedTuple):
    """A row of `silver_system_logs`."""

    event_id: UUID
    stream: str
    occurred_at: datetime
    service: str
    level: str
    message: str
    latency_ms: float | None
    status_code: int | None
    trace_id: str | None


class Customer(NamedTuple):
    """A row of `silver_customers`."""

    customer_id: str
    email: str | None
    name: str | None
    email_hash: str | None
    email_domain: str | None
    country: str | None
    created_at: datetime
    acquisition_channel: str | None
    acquisition_campaign: str | None
    marketing_opt_in: bool | None
    first_seen_at: datetime
    last_seen_at: datetime
    orders: int
    total_spent: Decimal
    is_deleted: bool
    acquisition_at: datetime | None
    acquisition_event_id: UUID | None


class Product(NamedTuple):
    """A row of `silver_products`."""

    product_id: str
    name: str | None
    category: str | None
    price: Decimal | None
    currency: str | None
    stock: int | None
    is_listed: bool
    listed_at: datetime | None


class Session(NamedTuple):
    """A row of `silver_sessions`."""

    session_id: str
    visitor_id: str
    customer_id: str | None
    started_at: datetime
    ended_at: datetime
    events: int
    page_views: int
    products_viewed: int
    carts: int
    searches: int
    checkouts: int
    purchases: int
    revenue_base: Decimal
    channel: str | None
    campaign: str | None
    landing_page: str | None
    exit_page: str | None
    referrer: str | None
    country: str | None
    device: str | None
    browser: str | None
    is_bot: bool
    is_runaway: bool
    events_approximate: bool


class Identity(NamedTuple):
    """A row of `silver_identities`."""

    anonymous_id: str
    customer_id: str
    seen_at: datetime


class Letter(NamedTuple):
    """A row of `dead_letters`, of a record that nobody has tried to repair yet."""

    stream: str
    partition_key: str
    stage: str
    reason: str
    payload: bytes
    event_id: str | None
    event_type: str | None
    occurred_at: datetime | None
    status: str = "pending"
    attempt: int = 0


FactRow = Transaction | ProductEvent | CustomerEvent | SystemLog
Row = FactRow | Customer | Product | Session | Identity | Letter

TABLE_OF: Final[dict[type, str]] = {
    Transaction: "silver_transactions",
    ProductEvent: "silver_product_events",
    CustomerEvent: "silver_customer_events",
    SystemLog: "silver_system_logs",
    Customer: "silver_customers",
    Product: "silver_products",
    Session: "silver_sessions",
    Identity: "silver_identities",
    Letter: "dead_letters",
}
"""The table that each kind of row is in; its `_fields` are the columns."""
