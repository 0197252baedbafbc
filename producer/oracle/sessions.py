"""Sessions: a visitor's events in order, cut where the step is over the gap."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from itertools import groupby
from typing import Final, NamedTuple
from uuid import UUID

from producer.oracle.rows import FactRow, Session, SystemLog, Transaction

LONGEST: Final = timedelta(hours=24)
MOST_EVENTS: Final = 10_000
INHUMAN_EVENTS: Final = 50
INHUMAN_PER_SECOND: Final = 2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Step(NamedTuple):
    """What a session needs to know of an event. Steps sort by visitor, instant, id."""

    visitor_id: str
    occurred_at: datetime
    event_id: UUID
    event_type: str
    customer_id: str | None
    amount_base: Decimal | None
    page_url: str | None
    referrer: str | None
    channel: str | None
    campaign: str | None
    country: str | None
    device: str | None
    browser: str | None
    is_bot: bool


def step_of(fact: FactRow) -> Step | None:
    """Give the step of a fact, None for one that makes no session."""
    if isinstance(fact, SystemLog) or fact.visitor_id is None:
        return None
    amount = None
    if isinstance(fact, Transaction):
        kind, amount = fact.transaction_type, fact.amount_base
    else:
        kind = fact.event_type
    return Step(
        fact.visitor_id,
        fact.occurred_at,
        fact.event_id,
        kind,
        fact.customer_id,
        amount,
        fact.page_url,
        fact.referrer,
        fact.channel,
        fact.campaign,
        fact.country,
        fact.device,
        fact.browser,
        fact.is_bot,
    )


def sessions_of(steps: Iterable[Step], gap: timedelta) -> Iterator[Session]:
    """Give the sessions of steps that are sorted and each there once; memory is one session's sums."""
    for _, of_visitor in groupby(steps, key=lambda step: step.visitor_id):
        session: _Session | None = None
        for step in of_visitor:
            if session is None or step.occurred_at - session.last.occurred_at > gap:
                if session is not None:
                    yield session.row()
                session = _Session(step)
            session.add(step)
        if session is not None:
            yield session.row()


class _Session:
    def __init__(self, first: Step) -> None:
        self._first = first
        self.last = first
        self._types: Counter[str] = Counter()
        self._revenue = Decimal(0)
        self._exit_page: str | None = None
        self._customer_id: str | None = None
        self._says_bot = False

    def add(self, step: Step) -> None:
        self.last = step
        self._types[step.event_type] += 1
        if step.event_type == "purchase":
            self._revenue += step.amount_base or 0
        elif step.event_type == "refund":
            self._revenue -= step.amount_base or 0
        self._exit_page = step.page_url or self._exit_page
        self._customer_id = step.customer_id or self._customer_id
        self._says_bot |= step.is_bot

    def row(self) -> Session:
        first, types = self._first, self._types
        events, length = types.total(), self.last.occurred_at - first.occurred_at
        inhuman = events >= INHUMAN_EVENTS and events > INHUMAN_PER_SECOND * length.total_seconds()
        return Session(
            session_id=session_id(first.visitor_id, first.occurred_at, first.event_id),
            visitor_id=first.visitor_id,
            customer_id=self._customer_id,
            started_at=first.occurred_at,
            ended_at=self.last.occurred_at,
            events=events,
            page_views=types["page_viewed"],
            products_viewed=types["product_viewed"],
            carts=types["cart_added"],
            searches=types["product_searched"],
            checkouts=types["checkout_started"],
            purchases=types["purchase"],
            revenue_base=self._revenue,
            channel=first.channel,
            campaign=first.campaign,
            landing_page=first.page_url,
            exit_page=self._exit_page,
            referrer=first.referrer,
            country=first.country,
            device=first.device,
            browser=first.browser,
            is_bot=self._says_bot or inhuman,
            is_runaway=length > LONGEST or events > MOST_EVENTS,
            events_approximate=events > MOST_EVENTS,
        )


def session_id(visitor_id: str, started_at: datetime, first_event_id: UUID) -> str:
    """Derive a session's id.

    It is the UUID of the 16-byte BLAKE2b hash of: the visitor in UTF-8, a zero byte, the microseconds since
    1970 of the first event in decimal digits, a zero byte, the 16 bytes of the first event's id.
    """
    since = started_at - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    parts = (visitor_id.encode(), str(microseconds).encode(), first_event_id.bytes)
    return str(UUID(bytes=blake2b(b"\0".join(parts), digest_size=16).digest()))
