"""What `silver.*` topics carry: entities as they are now, each record whole and with its revision.

A sink writes a record only if its revision is above what it has applied for the key, so neither a replay
nor a stale worker brings an old state back.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

REVISION: Final = "revision"
"""Header with the record's revision, so that tombstones carry it too."""


class Revision(NamedTuple):
    """Order of the states of one key: the state's epoch, then the last input offset of the batch.

    `epoch` is milliseconds since 1970 at which the state began empty, so a later beginning compares greater.
    """

    epoch: int
    offset: int

    def to_header(self) -> bytes:
        """Give the bytes of the `revision` header, `epoch:offset`."""
        return b"%d:%d" % self

    @classmethod
    def from_header(cls, header: bytes) -> "Revision":
        """Read `epoch:offset`; raises ValueError when it is neither."""
        epoch, offset = header.split(b":")
        return cls(int(epoch), int(offset))


class Session(Struct, kw_only=True, omit_defaults=True):
    """A row of `silver_sessions`. Counts are of distinct events; money is in the base currency."""

    session_id: str
    customer_id: str | None = None
    started_at: datetime
    ended_at: datetime
    events: int
    page_views: int = 0
    products_viewed: int = 0
    carts: int = 0
    searches: int = 0
    checkouts: int = 0
    purchases: int = 0
    revenue_base: Decimal = Decimal(0)
    channel: str | None = None
    campaign: str | None = None
    landing_page: str | None = None
    exit_page: str | None = None
    referrer: str | None = None
    country: str | None = None
    device: str | None = None
    browser: str | None = None
    is_bot: bool = False
    is_runaway: bool = False
    events_approximate: bool = False


class SessionDay(Struct, kw_only=True):
    """All sessions of a visitor that began on one UTC day (`silver.sessions`, keyed `visitor_id|day`).

    It replaces what is stored for that visitor and day; with no sessions, they moved to another day.
    """

    visitor_id: str
    day: date
    revision: tuple[int, int]
    sessions: list[Session]


class Customer(Struct, kw_only=True, omit_defaults=True):
    """A customer's profile (`silver.customers`, keyed by customer); totals are kept by the sink.

    The acquisition is that of the customer's own earliest event with a context, and which one that is; the
    sink weighs it against those of linked visitors.
    """

    customer_id: str
    revision: tuple[int, int]
    email: str | None = None
    email_hash: str | None = None
    email_domain: str | None = None
    name: str | None = None
    country: str | None = None
    birth_year: int | None = None
    marketing_opt_in: bool | None = None
    created_at: datetime
    acquisition_channel: str | None = None
    acquisition_campaign: str | None = None
    acquisition_at: datetime | None = None
    acquisition_event_id: str | None = None
    first_seen_at: datetime
    last_seen_at: datetime
    is_deleted: bool = False


class Product(Struct, kw_only=True, omit_defaults=True):
    """A product of the catalogue (`silver.products`, keyed by product)."""

    product_id: str
    revision: tuple[int, int]
    name: str | None = None
    category: str | None = None
    price: Decimal | None = None
    currency: str | None = None
    stock: int | None = None
    is_listed: bool = False
    listed_at: datetime | None = None


class Identity(Struct, kw_only=True):
    """A link between a visitor and a customer, seen on one event (`silver.identities`)."""

    anonymous_id: str
    customer_id: str
    seen_at: datetime


LateOutcome = Literal["merged", "joined_sessions", "started_session", "beyond_retention"]


class LateEvent(Struct, kw_only=True, omit_defaults=True):
    """An event that came later than the gap behind its source's watermark, or than sessions are retained.

    On `silver.late-events`. `arrived_at` tells which copy of an event it was: one listed as beyond the
    retention may be a repetition of one that came in time, which only the stored fact can tell.
    """

    event_id: str
    occurred_at: datetime
    arrived_at: datetime | None = None
    lateness_seconds: float
    outcome: LateOutcome


encode_silver = msgspec.json.Encoder().encode
decode_session_days = msgspec.json.Decoder(list[SessionDay]).decode
decode_customers = msgspec.json.Decoder(list[Customer]).decode
decode_products = msgspec.json.Decoder(list[Product]).decode
decode_identities = msgspec.json.Decoder(list[Identity]).decode
decode_late_events = msgspec.json.Decoder(list[LateEvent]).decode
