"""A session as a value: what is derived from a set of events, and how two sets become one.

Neither adding events nor joining sessions depends on order. Both want events that are not in the session yet:
which those are, `processors.sessions.days` finds out by their ids.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec import Struct

from processors.sessions.ids import KEPT_IDS
from streams.facts import VisitorEvent
from streams.silver import Session

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
US: Final = timedelta(microseconds=1)
DAY_US: Final = 24 * 60 * 60 * 1_000_000

RUNAWAY_US: Final = DAY_US
INHUMAN_EVENTS: Final = 50
INHUMAN_EVENTS_PER_SECOND: Final = 2


class NewEvent(NamedTuple):
    """An event to merge. They sort as a visitor's events do: by instant (microseconds since 1970), then id.

    `id_hash` tells it apart in a session; `offset` is its place in the partition.
    """

    at_us: int
    event_id: bytes
    offset: int
    id_hash: bytes
    event: VisitorEvent


class SessionState(Struct, array_like=True):
    """A session.

    `ids` are hashes of the events' ids, one behind the other; older ones are in chunks of their own, which
    `chunks` names. With more than `KEPT_IDS` events it is overfull: no more ids are kept, and `through` is
    the input offset (which a rebuild counts below 0) up to which everything of the visitor has been merged.
    """

    first_us: int
    first_id: bytes
    last_us: int
    # of the first event
    page: str | None
    referrer: str | None
    channel: str | None
    campaign: str | None
    country: str | None
    device: str | None
    browser: str | None
    # sums over distinct events; money in cents of the base currency, refunds negative
    events: int = 0
    page_views: int = 0
    products_viewed: int = 0
    carts: int = 0
    searches: int = 0
    checkouts: int = 0
    purchases: int = 0
    revenue_cents: int = 0
    # the last event that has a page
    exit_us: int = 0
    exit_id: bytes = b""
    exit_page: str | None = None
    is_customers: bool = False
    seen_bot: bool = False
    ids: bytes = b""
    chunks: bytes = b""
    through: int | None = None

    @property
    def start_day(self) -> int:
        """The UTC day of the first event, counted from 1970-01-01."""
        return self.first_us // DAY_US

    @property
    def end_day(self) -> int:
        """The UTC day of the last event."""
        return self.last_us // DAY_US

    @property
    def is_overfull(self) -> bool:
        """Whether it has events whose ids are not kept."""
        return self.events > KEPT_IDS

    def add(self, run: Sequence[NewEvent]) -> None:
        """Add events that it does not have, in their order."""
        if run[0] < (self.first_us, self.first_id):
            self._begin_with(run[0])
        self.last_us = max(self.last_us, run[-1].at_us)
        self.ids += b"".join([new.id_hash for new in run])
        self.events += len(run)
        for new in run:
            event = new.event
            counted = _COUNTED_AS.get(event.event_type)
            if counted is not None:
                setattr(self, counted, getattr(self, counted) + 1)
            if event.amount_base is not None:
                self.revenue_cents += _SIGN.get(event.event_type, 0) * int(event.amount_base * 100)
            if event.page_url and (self.exit_page is None or (self.exit_us, self.exit_id) <= new):
                self.exit_us, self.exit_id, self.exit_page = new.at_us, new.event_id, event.page_url
            if event.customer_id is not None:
                self.is_customers = True
            if event.is_bot:
                self.seen_bot = True

    def absorb(self, other: "SessionState") -> None:
        """Take over a session that has no event in common with this one."""
        self.ids += other.ids
        self.chunks += other.chunks
        if (other.first_us, other.first_id) < (self.first_us, self.first_id):
            for name in _OF_FIRST_EVENT:
                setattr(self, name, getattr(other, name))
        self.last_us = max(self.last_us, other.last_us)
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.exit_page and (
            self.exit_page is None or (self.exit_us, self.exit_id) < (other.exit_us, other.exit_id)
        ):
            self.exit_us, self.exit_id, self.exit_page = other.exit_us, other.exit_id, other.exit_page
        self.is_customers |= other.is_customers
        self.seen_bot |= other.seen_bot
        self.through = higher(self.through, other.through)

    def _begin_with(self, new: NewEvent) -> None:
        event = new.event
        self.first_us, self.first_id = new.at_us, new.event_id
        self.page, self.referrer = event.page_url, event.referrer
        self.channel, self.campaign = event.channel, event.campaign
        self.country, self.device, self.browser = event.country, event.device, event.browser


_OF_FIRST_EVENT: Final = SessionState.__struct_fields__[:2] + SessionState.__struct_fields__[3:10]
_SUMS: Final = SessionState.__struct_fields__[10:18]
_COUNTED_AS: Final = {
    "page_viewed": "page_views",
    "product_viewed": "products_viewed",
    "product_searched": "searches",
    "cart_added": "carts",
    "checkout_started": "checkouts",
    "purchase": "purchases",
}
_SIGN: Final = {"purchase": 1, "refund": -1}


def higher(a: int | None, b: int | None) -> int | None:
    """Give the higher of two offsets; None is below all."""
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def session_of(run: Sequence[NewEvent]) -> SessionState:
    """Give the session of events in their order."""
    first = run[0]
    event = first.event
    session = SessionState(
        first.at_us,
        first.event_id,
        first.at_us,
        event.page_url,
        event.referrer,
        event.channel,
        event.campaign,
        event.country,
        event.device,
        event.browser,
    )
    session.add(run)
    return session


def session_id_of(visitor_id: str, session: SessionState) -> str:
    """Derive a session's id from its visitor and first event, so that it does not depend on order."""
    digest = blake2b(visitor_id.encode(), digest_size=16)
    digest.update(b"\x00%d\x00" % session.first_us + session.first_id)
    told = digest.hexdigest()
    return f"{told[:8]}-{told[8:12]}-{told[12:16]}-{told[16:20]}-{told[20:]}"


def to_row(visitor_id: str, session: SessionState) -> Session:
    """Give the row of `silver_sessions`."""
    length_us = session.last_us - session.first_us
    inhuman = (
        session.events >= INHUMAN_EVENTS
        and session.events * 1_000_000 > INHUMAN_EVENTS_PER_SECOND * length_us
    )
    return Session(
        session_id=session_id_of(visitor_id, session),
        customer_id=visitor_id if session.is_customers else None,
        started_at=EPOCH + session.first_us * US,
        ended_at=EPOCH + session.last_us * US,
        events=session.events,
        page_views=session.page_views,
        products_viewed=session.products_viewed,
        carts=session.carts,
        searches=session.searches,
        checkouts=session.checkouts,
        purchases=session.purchases,
        revenue_base=Decimal(session.revenue_cents) / 100,
        channel=session.channel,
        campaign=session.campaign,
        landing_page=session.page,
        exit_page=session.exit_page,
        referrer=session.referrer,
        country=session.country,
        device=session.device,
        browser=session.browser,
        is_bot=session.seen_bot or inhuman,
        is_runaway=length_us > RUNAWAY_US or session.is_overfull,
        events_approximate=session.is_overfull,
    )
