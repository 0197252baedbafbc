"""The events that arrive: one type per `event_type`, each stream a tagged union of its types.

These types are the definition: JSON Schema for producers in other languages is generated from them
(`streams.json_schema`, `schemas/`).
A record is decoded by `DECODERS[stream]`; what a type cannot express (dates in the future, known
currencies, finite amounts) is checked by `processors.clean`.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Stream = Literal["customer-events", "transaction-events", "product-events", "system-logs"]
STREAMS: tuple[Stream, ...] = ("customer-events", "transaction-events", "product-events", "system-logs")

MAX_EVENT_BYTES = 1024 * 1024

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Instant = Annotated[datetime, Meta(tz=True)]
# With a length, because $ also matches before a line's end. The descriptions stand in the schemas and in what
# is said of a value that does not match.
Country = Annotated[
    str, Meta(pattern="^[A-Za-z]{2}$", max_length=2, description="a code of two letters such as DE")
]
Currency = Annotated[
    str, Meta(pattern="^[A-Z]{3}$", max_length=3, description="a code of three capital letters such as EUR")
]
# What a schema cannot say of decimals in words of its own is said in numbers; `processors.clean` holds it.
Amount = Annotated[Decimal, Meta(extra_json_schema={"minimum": 0, "exclusiveMaximum": 10**10})]
PositiveAmount = Annotated[
    Decimal, Meta(extra_json_schema={"exclusiveMinimum": 0, "exclusiveMaximum": 10**10})
]
Version = Annotated[int, Meta(extra_json_schema={"const": 1})]
Email = Annotated[
    str,
    Meta(
        pattern=r"^[^@\s]+@[^@\s]+(?!\s)$",
        max_length=320,
        description="an e-mail address with one @, without spaces, of at most 320 characters",
    ),
]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Context(Struct, omit_defaults=True):
    """Where a visitor was when the event happened; every field is optional."""

    page_url: str | None = None
    referrer: str | None = None
    user_agent: str | None = None
    ip: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    country: Country | None = None


class Event(Struct, kw_only=True, omit_defaults=True, tag_field="event_type"):
    """What every event carries."""

    event_id: UUID
    occurred_at: Instant
    event_version: Version = 1
    customer_id: Id | None = None
    anonymous_id: Id | None = None
    context: Context | None = None


class CustomerEvent(Event, kw_only=True):
    """Something a known customer did with their account. A null field clears, an absent one leaves."""

    customer_id: Id
    email: Email | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    country: Country | UnsetType | None = UNSET
    birth_year: Annotated[int, Meta(ge=1850, le=2200)] | UnsetType | None = UNSET
    marketing_opt_in: bool | UnsetType | None = UNSET


class Signup(CustomerEvent, kw_only=True, tag="signup"):
    """A customer's account begins."""

    email: Email


class Login(CustomerEvent, tag="login"):
    """With `anonymous_id`, links the visitor to the customer."""


class Logout(CustomerEvent, tag="logout"):
    """The visitor is anonymous again."""


class ProfileUpdated(CustomerEvent, tag="profile_updated"):
    """Some fields of the profile changed."""


class AccountDeleted(CustomerEvent, tag="account_deleted"):
    """Ends the personal fields, whatever happened before it."""


class Item(Struct):
    """A line of an order."""

    product_id: Id
    category: str
    quantity: Quantity
    unit_price: Amount


class TransactionEvent(Event, kw_only=True):
    """Money of a known customer. Amounts are decimal, in `currency`."""

    customer_id: Id
    currency: Currency


class Purchase(TransactionEvent, kw_only=True, tag="purchase"):
    """An order was paid."""

    order_id: Id
    amount: Amount
    items: Annotated[list[Item], Meta(min_length=1)]
    payment_method: str
    coupon: str | None = None
    discount: Amount | None = None


class Refund(TransactionEvent, kw_only=True, tag="refund"):
    """Part or all of an order was paid back."""

    order_id: Id
    amount: PositiveAmount


class SubscriptionEvent(TransactionEvent, kw_only=True):
    """A step in a subscription's life."""

    subscription_id: Id
    plan: str
    monthly_amount: Amount


class SubscriptionStarted(SubscriptionEvent, tag="subscription_started"):
    """The subscription is active from here."""


class SubscriptionRenewed(SubscriptionEvent, tag="subscription_renewed"):
    """Another period was paid."""


class SubscriptionCancelled(SubscriptionEvent, tag="subscription_cancelled"):
    """The subscription ends here."""


class InteractionEvent(Event, kw_only=True):
    """What a visitor did in the shop; `customer_id` or `anonymous_id` is required."""


class PageViewed(InteractionEvent, tag="page_viewed"):
    """A page of the shop was shown."""


class ProductInteraction(InteractionEvent, kw_only=True):
    """An interaction with one product."""

    product_id: Id


class ProductViewed(ProductInteraction, tag="product_viewed"):
    """A product's page was shown."""


class ProductSearched(InteractionEvent, kw_only=True, tag="product_searched"):
    """The catalogue was searched."""

    query: str


class CartAdded(ProductInteraction, tag="cart_added"):
    """A product was put into the cart."""

    quantity: Quantity = 1


class CartRemoved(ProductInteraction, tag="cart_removed"):
    """A product was taken out of the cart."""

    quantity: Quantity = 1


class CheckoutStarted(InteractionEvent, tag="checkout_started"):
    """The visitor went to pay."""


class ProductReviewed(ProductInteraction, kw_only=True, tag="product_reviewed"):
    """A product was rated."""

    rating: Annotated[int, Meta(ge=1, le=5)]


class ProductListed(Event, kw_only=True, tag="product_listed"):
    """The catalogue's entry of a product, whole."""

    product_id: Id
    name: str
    category: str
    price: Amount
    currency: Currency
    stock: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class ProductDelisted(Event, kw_only=True, tag="product_delisted"):
    """The product is no longer on sale."""

    product_id: Id


class Log(Event, kw_only=True, tag="log"):
    """A line of a system's log."""

    service: str
    level: Literal["debug", "info", "warning", "error", "critical"]
    message: str
    latency_ms: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    status_code: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    trace_id: str | None = None


EVENT_CLASSES: dict[Stream, tuple[type[Event], ...]] = {
    "customer-events": (Signup, Login, Logout, ProfileUpdated, AccountDeleted),
    "transaction-events": (
        Purchase,
        Refund,
        SubscriptionStarted,
        SubscriptionRenewed,
        SubscriptionCancelled,
    ),
    "product-events": (
        PageViewed,
        ProductViewed,
        ProductSearched,
        CartAdded,
        CartRemoved,
        CheckoutStarted,
        ProductReviewed,
        ProductListed,
        ProductDelisted,
    ),
    "system-logs": (Log,),
}
CATALOGUE = (ProductListed, ProductDelisted)


_TYPE_OF_CLASS: dict[type[Event], str] = {
    c: str(c.__struct_config__.tag) for classes in EVENT_CLASSES.values() for c in classes
}


def event_type_of(event_class: type[Event]) -> str:
    """Give the `event_type` that a class of events carries."""
    return _TYPE_OF_CLASS[event_class]


EVENT_TYPES: dict[Stream, frozenset[str]] = {
    stream: frozenset(event_type_of(c) for c in classes) for stream, classes in EVENT_CLASSES.items()
}
STREAM_OF_TYPE: dict[str, Stream] = {t: stream for stream, types in EVENT_TYPES.items() for t in types}


def union_of(stream: Stream) -> Any:
    """Give the tagged union of a stream's types, as msgspec takes it."""
    union: Any = EVENT_CLASSES[stream][0]
    for event_class in EVENT_CLASSES[stream][1:]:
        union = union | event_class
    return union


class _Nothing(Event, kw_only=True, tag="nothing"):
    """No record is one. With it a stream of one type is a union too, in which `event_type` is required."""

    none: Annotated[int, Meta(ge=1, le=0)]


DECODERS: dict[Stream, msgspec.json.Decoder[Any]] = {
    s: msgspec.json.Decoder(union_of(s) | _Nothing) for s in STREAMS
}
"""One event of a stream from its bytes; raises `msgspec.DecodeError` or its subclass `ValidationError`."""


class _Keys(Struct):
    customer_id: Any = None
    anonymous_id: Any = None
    product_id: Any = None


_decode_keys = msgspec.json.Decoder(_Keys).decode


def key_of(value: bytes, partition_key: str) -> bytes:
    """Give the Kafka key of a record: customer, else visitor, else product, else its Kinesis partition key.

    Never raises: a record that cannot be read has its partition key.
    """
    try:
        keys = _decode_keys(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return partition_key.encode(errors="replace")
    for key in (keys.customer_id, keys.anonymous_id, keys.product_id):
        if isinstance(key, str) and key:
            return key.encode(errors="replace")
    return partition_key.encode(errors="replace")
