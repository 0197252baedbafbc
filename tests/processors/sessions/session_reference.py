"""What sessions must be, in the plainest way: all events, sorted and cut. No code of the stage is used."""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from streams.facts import VisitorEvent

GAP = timedelta(minutes=30)
COLUMNS = {
    "page_views": "page_viewed",
    "products_viewed": "product_viewed",
    "carts": "cart_added",
    "searches": "product_searched",
    "checkouts": "checkout_started",
    "purchases": "purchase",
}

Rows = dict[str, dict[str, Any]]


def reference(events: Iterable[VisitorEvent], gap: timedelta = GAP, kept_ids: int = 10_000) -> Rows:
    """Give the rows of `silver_sessions` by session id. Of one id the first event counts."""
    first: dict[str, VisitorEvent] = {}
    for event in events:
        first.setdefault(event.event_id, event)
    in_order = sorted(first.values(), key=lambda e: (e.visitor_id, e.occurred_at, uuid.UUID(e.event_id).int))
    rows: Rows = {}
    for visitor, theirs in groupby(in_order, key=lambda e: e.visitor_id):
        session: list[VisitorEvent] = []
        for event in theirs:
            if session and event.occurred_at - session[-1].occurred_at > gap:
                rows |= _row(visitor, session, kept_ids)
                session = []
            session.append(event)
        rows |= _row(visitor, session, kept_ids)
    return rows


def _row(visitor: str, session: list[VisitorEvent], kept_ids: int) -> Rows:
    begin, end = session[0], session[-1]
    length = end.occurred_at - begin.occurred_at
    pages = [e.page_url for e in session if e.page_url]
    too_many = len(session) > kept_ids
    revenue = sum(
        (e.amount_base or Decimal(0)) * {"purchase": 1, "refund": -1}.get(e.event_type, 0) for e in session
    )
    row = {
        "session_id": _session_id(visitor, begin),
        "customer_id": next((e.customer_id for e in session if e.customer_id), None),
        "started_at": begin.occurred_at,
        "ended_at": end.occurred_at,
        "events": len(session),
        "revenue_base": Decimal(revenue),
        "channel": begin.channel,
        "campaign": begin.campaign,
        "landing_page": begin.page_url,
        "exit_page": pages[-1] if pages else None,
        "referrer": begin.referrer,
        "country": begin.country,
        "device": begin.device,
        "browser": begin.browser,
        "is_bot": any(e.is_bot for e in session)
        or (len(session) >= 50 and len(session) > 2 * length.total_seconds()),
        "is_runaway": length > timedelta(days=1) or too_many,
        "events_approximate": too_many,
    }
    for column, kind in COLUMNS.items():
        row[column] = sum(e.event_type == kind for e in session)
    return {str(row["session_id"]): row}


def _session_id(visitor: str, first: VisitorEvent) -> str:
    at = first.occurred_at
    since = at - datetime(1970, 1, 1, tzinfo=at.tzinfo)
    us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    told = visitor.encode() + b"\0" + str(us).encode() + b"\0" + uuid.UUID(first.event_id).bytes
    return str(uuid.UUID(hashlib.blake2b(told, digest_size=16).hexdigest()))
