"""A session as a value: a set of events with what is derived from them. Merging is a union.

Merging is commutative, associative and, because events are told apart by their ids, idempotent; so it does
not matter in which order, how often or in which groups events arrive.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from streams.facts import VisitorEvent
from streams.silver import Session

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
US: Final = timedelta(microseconds=1)
DAY_US: Final = 24 * 60 * 60 * 1_000_000
ID_BYTES: Final = 16

KEPT_IDS: Final = 10_000
"""Beyond this many events ids are no longer kept, so repeats are no longer told apart."""
RUNAWAY_US: Final = DAY_US
INHUMAN_EVENTS: Final = 50
INHUMAN_EVENTS_PER_SECOND: Final = 2


class Moment(NamedTuple):
    """Order of a visitor's events: microseconds since 1970, then the event's id."""

    at_us: int
    event_id: bytes


class Landing(Struct, array_like=True, frozen=True):
    """What a session takes from its first event."""

    page: str | None
    referrer: str | None
    channel: str | None
    campaign: str | None
    country: str | None
    device: str | None
    browser: str | None


class Counts(Struct, array_like=True, frozen=True):
    """Sums over distinct events; money in cents of the base currency, refunds negative."""

    events: int = 0
    page_views: int = 0
    products_viewed: int = 0
    carts: int = 0
    searches: int = 0
    checkouts: int = 0
    purchases: int = 0
    revenue_cents: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Add field by field."""
        return Counts(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))


def _values(counts: Counts) -> tuple[int, ...]:
    return tuple(getattr(counts, field) for field in Counts.__struct_fields__)


class SessionState(Struct, array_like=True, frozen=True):
    """A session. `ids` holds the events' ids one behind the other, at most `KEPT_IDS` of them.

    `exit` is the last event that has a page, with the page.
    """

    first: Moment
    last: Moment
    landing: Landing
    counts: Counts
    ids: bytes
    exit: tuple[Moment, str] | None = None
    customer_id: str | None = None
    seen_bot: bool = False

    @property
    def start_day(self) -> int:
        """The UTC day of the first event, counted from 1970-01-01."""
        return self.first.at_us // DAY_US

    @property
    def end_day(self) -> int:
        """The UTC day of the last event."""
        return self.last.at_us // DAY_US

    def id_set(self) -> set[bytes]:
        """Give the ids that are kept."""
        return {self.ids[i : i + ID_BYTES] for i in range(0, len(self.ids), ID_BYTES)}


_COUNTED_AS: Final = {
    "page_viewed": Counts(events=1, page_views=1),
    "product_viewed": Counts(events=1, products_viewed=1),
    "product_searched": Counts(events=1, searches=1),
    "cart_added": Counts(events=1, carts=1),
    "checkout_started": Counts(events=1, checkouts=1),
    "purchase": Counts(events=1, purchases=1),
}
_SIGN: Final = {"purchase": 1, "refund": -1}
_ONE_EVENT: Final = Counts(events=1)


def moment_of(event: VisitorEvent) -> Moment:
    """Give an event's place in its visitor's order."""
    return Moment((event.occurred_at - EPOCH) // US, UUID(event.event_id).bytes)


def session_of(event: VisitorEvent, moment: Moment) -> SessionState:
    """Give the session of one event."""
    counts = _COUNTED_AS.get(event.event_type, _ONE_EVENT)
    sign = _SIGN.get(event.event_type)
    if sign is not None and event.amount_base is not None:
        counts = replace(counts, revenue_cents=sign * int(event.amount_base * 100))
    return SessionState(
        first=moment,
        last=moment,
        landing=Landing(
            event.page_url,
            event.referrer,
            event.channel,
            event.campaign,
            event.country,
            event.device,
            event.browser,
        ),
        counts=counts,
        ids=moment.event_id,
        exit=(moment, event.page_url) if event.page_url else None,
        customer_id=event.customer_id,
        seen_bot=event.is_bot,
    )


def merge_sessions(a: SessionState, b: SessionState) -> SessionState:
    """Join two sessions that have no event in common."""
    early, late = (a, b) if a.first <= b.first else (b, a)
    return SessionState(
        first=early.first,
        last=max(a.last, b.last),
        landing=early.landing,
        counts=a.counts + b.counts,
        ids=(early.ids + late.ids)[: KEPT_IDS * ID_BYTES],
        exit=max((e for e in (a.exit, b.exit) if e is not None), default=None),
        customer_id=a.customer_id or b.customer_id,
        seen_bot=a.seen_bot or b.seen_bot,
    )


def session_id_of(visitor_id: str, first: Moment) -> str:
    """Derive a session's id from its visitor and first event, so that it does not depend on order."""
    digest = blake2b(visitor_id.encode(), digest_size=16)
    digest.update(b"\x00%d\x00" % first.at_us + first.event_id)
    return str(UUID(bytes=digest.digest()))


def to_row(visitor_id: str, session: SessionState) -> Session:
    """Give the row of `silver_sessions`."""
    counts, landing = session.counts, session.landing
    length_us = session.last.at_us - session.first.at_us
    approximate = counts.events > KEPT_IDS
    inhuman = (
        counts.events >= INHUMAN_EVENTS and counts.events * 1_000_000 > INHUMAN_EVENTS_PER_SECOND * length_us
    )
    return Session(
        session_id=session_id_of(visitor_id, session.first),
        customer_id=session.customer_id,
        started_at=EPOCH + session.first.at_us * US,
        ended_at=EPOCH + session.last.at_us * US,
        events=counts.events,
        page_views=counts.page_views,
        products_viewed=counts.products_viewed,
        carts=counts.carts,
        searches=counts.searches,
        checkouts=counts.checkouts,
        purchases=counts.purchases,
        revenue_base=Decimal(counts.revenue_cents) / 100,
        channel=landing.channel,
        campaign=landing.campaign,
        landing_page=landing.page,
        exit_page=session.exit[1] if session.exit else None,
        referrer=landing.referrer,
        country=landing.country,
        device=landing.device,
        browser=landing.browser,
        is_bot=session.seen_bot or inhuman,
        is_runaway=length_us > RUNAWAY_US or approximate,
        events_approximate=approximate,
    )
