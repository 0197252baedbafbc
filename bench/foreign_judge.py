"""Judges events by the contract, written here a second time in the plainest way.

What a good event is, how sessions are cut, how money is converted: nothing of the pipeline is imported.
"""

import csv
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

GAP: Final = timedelta(minutes=30)
BASE_CURRENCY: Final = "USD"

Event = dict[str, Any]

COMMON: Final = frozenset({"event_id", "event_type", "occurred_at"})
CUSTOMER: Final = frozenset({"customer_id"})
MONEY: Final = CUSTOMER | {"order_id", "amount", "currency"}
SUBSCRIPTION: Final = CUSTOMER | {"subscription_id", "plan", "monthly_amount", "currency"}
PRODUCT: Final = frozenset({"product_id"})
REQUIRED: Final[dict[str, frozenset[str]]] = {
    "signup": CUSTOMER | {"email"},
    "login": CUSTOMER,
    "logout": CUSTOMER,
    "profile_updated": CUSTOMER,
    "account_deleted": CUSTOMER,
    "purchase": MONEY | {"items", "payment_method"},
    "refund": MONEY,
    "subscription_started": SUBSCRIPTION,
    "subscription_renewed": SUBSCRIPTION,
    "subscription_cancelled": SUBSCRIPTION,
    "page_viewed": frozenset(),
    "checkout_started": frozenset(),
    "product_viewed": PRODUCT,
    "cart_added": PRODUCT,
    "cart_removed": PRODUCT,
    "product_searched": frozenset({"query"}),
    "product_reviewed": PRODUCT | {"rating"},
    "product_listed": PRODUCT | {"name", "category", "price", "currency", "stock"},
    "product_delisted": PRODUCT,
    "log": frozenset({"service", "level", "message"}),
}
NO_VISITOR: Final = {"product_listed", "product_delisted", "log"}
LEVELS: Final = {"debug", "info", "warning", "error", "critical"}
LONGEST_ID: Final = 128
BEST_RATING: Final = 5


def read_event(line: bytes, rates: "Rates") -> Event | None:
    """Read a line by the rules of the contract; None if it is broken."""
    try:
        event = json.loads(line.decode(), parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
        return event if isinstance(event, dict) and _is_good(event, rates) else None
    except (ValueError, RecursionError, InvalidOperation, TypeError, AttributeError):
        return None


def _no_number(text: str) -> None:
    raise ValueError(text)


def _is_good(event: Event, rates: "Rates") -> bool:
    kind = event.get("event_type")
    if not isinstance(kind, str) or not (COMMON | REQUIRED.get(kind, {"no such type"})) <= event.keys():
        return False
    who = [event[name] for name in ("customer_id", "anonymous_id") if event.get(name) is not None]
    uuid.UUID(event["event_id"])
    at = datetime.fromisoformat(event["occurred_at"])
    amounts = [Decimal(event[name]) for name in ("amount", "monthly_amount", "price") if name in event]
    return (
        at.tzinfo is not None
        and at < datetime.now(UTC) + timedelta(days=1)
        and event.get("event_version", 1) == 1
        and (bool(who) or kind in NO_VISITOR)
        and all(isinstance(w, str) and 0 < len(w) <= LONGEST_ID for w in who)
        and all(amount.is_finite() and amount >= 0 for amount in amounts)
        and ("currency" not in REQUIRED[kind] or event["currency"] in rates.by_currency)
        and (kind != "log" or event["level"] in LEVELS)
        and (kind != "product_reviewed" or 1 <= event["rating"] <= BEST_RATING)
        and isinstance(event.get("context", {}), dict)
    )


class Rates:
    """The dated rates; before a currency's first one the first one holds."""

    def __init__(self, path: Path) -> None:
        self.by_currency: defaultdict[str, list[tuple[date, Decimal]]] = defaultdict(list)
        self.by_currency[BASE_CURRENCY] = []
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                dated = date.fromisoformat(row["rate_date"]), Decimal(row["rate"])
                self.by_currency[row["currency"]].append(dated)

    def to_base(self, amount: Decimal, currency: str, at: datetime) -> Decimal:
        """Convert an amount, to cents, half to even."""
        rate = Decimal(1)
        if currency != BASE_CURRENCY:
            dated = sorted(self.by_currency[currency])
            before = [rate for day, rate in dated if day <= at.astimezone(UTC).date()]
            rate = before[-1] if before else dated[0][1]
        return (amount * rate).quantize(Decimal("0.01"), ROUND_HALF_EVEN)


class Session(NamedTuple):
    """What is compared of a session."""

    visitor_id: str
    started_at: datetime
    ended_at: datetime
    events: int
    purchases: int
    revenue_base: Decimal


class Judged(NamedTuple):
    """A file, judged: distinct good events by id, and how often each broken line occurs."""

    events: dict[str, Event]
    lines: int
    broken: Counter[bytes]


def judge(paths: Sequence[Path], rates: Rates) -> Judged:
    """Read files; lines without any content are none."""
    events: dict[str, Event] = {}
    broken: Counter[bytes] = Counter()
    lines = [line.rstrip(b"\r") for path in paths for line in path.read_bytes().split(b"\n")]
    lines = [line for line in lines if line.strip()]
    for line in lines:
        event = read_event(line, rates)
        if event is None:
            broken[line] += 1
        else:
            events[str(uuid.UUID(event["event_id"]))] = event
    return Judged(events, len(lines), broken)


def cut_sessions(events: dict[str, Event], rates: Rates) -> list[Session]:
    """Sort each visitor's events by time and id, and cut where the step is over the gap."""
    visits: defaultdict[str, list[tuple[datetime, str, Event]]] = defaultdict(list)
    for event_id, event in events.items():
        if event["event_type"] not in NO_VISITOR:
            visitor = event.get("customer_id") or event["anonymous_id"]
            visits[visitor].append((datetime.fromisoformat(event["occurred_at"]), event_id, event))
    sessions = []
    for visitor, visit in visits.items():
        visit.sort(key=lambda one: one[:2])
        begin = 0
        for i in range(1, len(visit) + 1):
            if i == len(visit) or visit[i][0] - visit[i - 1][0] > GAP:
                sessions.append(_session(visitor, visit[begin:i], rates))
                begin = i
    return sorted(sessions)


def _session(visitor: str, visit: Sequence[tuple[datetime, str, Event]], rates: Rates) -> Session:
    revenue, purchases = Decimal(0), 0
    for at, _event_id, event in visit:
        if event["event_type"] in ("purchase", "refund"):
            base = rates.to_base(Decimal(event["amount"]), event["currency"], at)
            revenue += base if event["event_type"] == "purchase" else -base
            purchases += event["event_type"] == "purchase"
    return Session(visitor, visit[0][0], visit[-1][0], len(visit), purchases, revenue)


def last_listings(events: dict[str, Event]) -> list[tuple[str, str | None, Decimal | None, bool]]:
    """Give each product with its last listing's name and price, and whether its last step was a listing."""
    steps: defaultdict[str, list[tuple[datetime, str, Event]]] = defaultdict(list)
    for event_id, event in events.items():
        if event["event_type"] in ("product_listed", "product_delisted"):
            at = datetime.fromisoformat(event["occurred_at"])
            steps[event["product_id"]].append((at, event_id, event))
    found = []
    for product, of_product in steps.items():
        of_product.sort(key=lambda one: one[:2])
        listings = [event for _, _, event in of_product if event["event_type"] == "product_listed"]
        last = listings[-1] if listings else {"name": None, "price": None}
        price = None if last["price"] is None else Decimal(last["price"])
        found.append((product, last["name"], price, of_product[-1][2]["event_type"] == "product_listed"))
    return found
