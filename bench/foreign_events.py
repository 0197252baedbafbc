"""Events that our producer did not make, and what must come of them: an independent judge of the whole path.

python bench/foreign_events.py make events.jsonl --events 50000 --seed 7
python bench/foreign_events.py check events.jsonl… [--url postgresql://…]

Nothing of the pipeline is imported (but its settings, for the default of --url): what a good event is, how
sessions are cut and how money is converted is written here a second time, in the plainest way.
"""

import argparse
import csv
import json
import random
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

GAP: Final = timedelta(minutes=30)
BEGIN: Final = datetime(2016, 2, 1, tzinfo=UTC)
DAYS: Final = 90
LOGS: Final = 0.25
LISTINGS: Final = 0.03
BASE_CURRENCY: Final = "USD"
RATES_FILE: Final = Path(__file__).resolve().parent.parent / "dbt" / "seeds" / "exchange_rates.csv"

Event = dict[str, Any]

# ---------------------------------------------------------------------------------------------- make


def make_lines(count: int, seed: int) -> list[bytes]:
    """Give `count` lines, shuffled: good events, 2 % of them twice or thrice, 3 % broken lines."""
    draw = random.Random(seed)  # noqa: S311  (synthetic data)
    broken = count * 3 // 100
    repeated = count * 2 // 100
    events = make_events(count - broken - repeated, draw)
    lines = [to_line(event, draw) for event in events]
    lines += [to_line(draw.choice(events), draw) for _ in range(repeated)]
    lines += [draw.choice(BREAKERS)(dict(draw.choice(events)), draw) for _ in range(broken)]
    draw.shuffle(lines)
    return lines


def make_events(count: int, draw: random.Random) -> list[Event]:
    """Give good events of all streams: visits of known and anonymous visitors, logs, a catalogue."""
    visitors = [f"c-{n}" if n % 3 else f"müller {n}@örtli" for n in range(count // 60 + 1)]
    events: list[Event] = []
    events += [
        event_at(marathon, "page_viewed", draw, customer_id="marathon") for marathon in marathon_times()
    ]
    while len(events) < count:
        what = draw.random()
        at = BEGIN + timedelta(days=DAYS) * draw.random()
        if what < LOGS:
            events.append(make_log(at, draw))
        elif what < LOGS + LISTINGS:
            events.append(make_listing(at, draw))
        else:
            events += make_visit(at, draw.choice(visitors), draw)
    return events[:count]


def marathon_times() -> Iterator[datetime]:
    """Give the instants of one visit of over a day, each step being exactly the gap."""
    return (BEGIN + timedelta(hours=7) + n * GAP for n in range(70))


def make_visit(at: datetime, visitor: str, draw: random.Random) -> Iterator[Event]:
    """Give a visit; some of its steps are the gap to the microsecond, or one more."""
    who: Event = {"customer_id": visitor}
    if draw.random() < 0.5:  # noqa: PLR2004  (every second visit)
        who = {"anonymous_id": f"a-{draw.randrange(4000)}"}
    for _ in range(draw.randint(1, 12)):
        if "customer_id" in who:
            kind = draw.choices(list(KNOWN), weights=[w for w, _ in KNOWN.values()])[0]
            fields = KNOWN[kind][1](draw)
        else:
            kind = draw.choices(list(ANONYMOUS), weights=[w for w, _ in ANONYMOUS.values()])[0]
            fields = ANONYMOUS[kind][1](draw)
        if draw.random() < 0.03:  # noqa: PLR2004  (a few log in, which links both ids)
            fields = {"anonymous_id": who.get("anonymous_id", "a-1")}
            who, kind = {"customer_id": visitor}, "login"
        yield event_at(at, kind, draw, **who, **fields)
        step = draw.choice(("minutes", "minutes", "minutes", "same", "gap", "over"))
        at += {
            "minutes": timedelta(seconds=draw.expovariate(1 / 300)),
            "same": timedelta(0),
            "gap": GAP,
            "over": GAP + timedelta(microseconds=1),
        }[step]


def event_at(at: datetime, kind: str, draw: random.Random, **fields: Any) -> Event:
    """Give an event with what is common to all, its instant spelled in one of several ways."""
    zone = timezone(timedelta(minutes=draw.choice((0, 0, 120, -330, 825))))
    spelled = at.astimezone(zone).isoformat()
    event = {"event_type": kind, "event_id": str(uuid.UUID(int=draw.getrandbits(128))), **fields}
    event["occurred_at"] = spelled.replace("+00:00", "Z") if draw.random() < 0.5 else spelled  # noqa: PLR2004
    if draw.random() < 0.5:  # noqa: PLR2004  (half of them say where they were)
        event["context"] = {
            "page_url": f"https://läden.example/{draw.randrange(99)}?q=%20",
            "referrer": draw.choice(("https://www.google.com/", "https://blog.example/", None)),
            "user_agent": "Mozilla/5.0 (Windows NT 6.1; rv:44.0) Gecko/20100101 Firefox/44.0",
            "country": draw.choice(("de", "CH", "BR", None)),
            "x_unknown": [1, {"deep": None}],
        }
    if draw.random() < 0.1:  # noqa: PLR2004  (fields of others are no fault)
        event["x_shop"] = {"quote": '"}\n{"', "n": 1e300}
    return event


def make_log(at: datetime, draw: random.Random) -> Event:
    """Give a line of a log."""
    level = draw.choice(("debug", "info", "warning", "error", "critical"))
    more = draw.choice(({}, {"latency_ms": draw.random() * 900}, {"status_code": 500, "trace_id": "t"}))
    return event_at(at, "log", draw, service=f"s{draw.randrange(5)}", level=level, message="läuft", **more)


def make_listing(at: datetime, draw: random.Random) -> Event:
    """Give a step in the catalogue."""
    product = f"p-{draw.randrange(300)}"
    if draw.random() < 0.1:  # noqa: PLR2004
        return event_at(at, "product_delisted", draw, product_id=product)
    return event_at(
        at, "product_listed", draw, product_id=product, name=f"Ding {draw.randrange(9)}",
        category=draw.choice(("a", "b")), price=money(draw), currency="CHF", stock=draw.randrange(100),
    )  # fmt: skip


def money(draw: random.Random) -> float | str | int:
    """Give an amount as a number or as text, with up to four decimals."""
    cents = draw.randint(1, 50_000)
    return draw.choice((cents / 100, f"{cents / 100:.2f}", cents, f"{cents}.{draw.randrange(10_000):04d}"))


def _product(draw: random.Random) -> Event:
    return {"product_id": f"p-{draw.randrange(300)}"}


def _nothing(_draw: random.Random) -> Event:
    return {}


def _paid(draw: random.Random) -> Event:
    currency = draw.choice(("USD", "EUR", "GBP", "JPY", "INR", "SEK"))
    return {"order_id": f"o-{draw.getrandbits(64)}", "amount": money(draw), "currency": currency}


def _purchase(draw: random.Random) -> Event:
    items = [
        {"product_id": f"p-{draw.randrange(300)}", "category": "a", "quantity": q, "unit_price": money(draw)}
        for q in range(1, draw.randint(2, 4))
    ]
    return {**_paid(draw), "items": items, "payment_method": "invoice", "discount": "0.50"}


def _subscription(draw: random.Random) -> Event:
    number = draw.randrange(500)
    return {
        "subscription_id": f"sub-{number}",
        "plan": "basic",
        "monthly_amount": money(draw),
        "currency": "EUR",
    }


ANONYMOUS: Final[dict[str, Any]] = {
    "page_viewed": (6, _nothing),
    "product_viewed": (6, _product),
    "product_searched": (2, lambda draw: {"query": draw.choice(("schuh", "", "日本"))}),
    "cart_added": (2, lambda draw: {**_product(draw), "quantity": draw.randint(1, 5)}),
    "cart_removed": (1, _product),
    "checkout_started": (1, _nothing),
    "product_reviewed": (1, lambda draw: {**_product(draw), "rating": draw.randint(1, 5)}),
}
KNOWN: Final[dict[str, Any]] = {
    **ANONYMOUS,
    "purchase": (4, _purchase),
    "refund": (1, _paid),
    "subscription_started": (1, _subscription),
    "subscription_renewed": (1, _subscription),
    "subscription_cancelled": (1, _subscription),
    "signup": (1, lambda draw: {"email": f"u{draw.randrange(999)}@example.org", "name": "Ü"}),
    "logout": (1, _nothing),
    "profile_updated": (1, lambda draw: {"country": draw.choice(("DE", None)), "marketing_opt_in": True}),
}


def to_line(event: Event, draw: random.Random) -> bytes:
    """Spell an event as JSON in one of several ways; a repetition may be spelled otherwise."""
    fields = list(event.items())
    draw.shuffle(fields)
    separators = draw.choice(((",", ":"), (", ", ": "), (" ,\t", " : ")))
    line = json.dumps(dict(fields), separators=separators, ensure_ascii=draw.random() < 0.5)  # noqa: PLR2004
    return draw.choice((b"", b"", b" ")) + line.encode() + draw.choice((b"", b"", b"\r"))


def _with(**fields: Any) -> Any:
    """Break an event by values that no event has; a field set to `...` is taken away."""

    def breaker(event: Event, draw: random.Random) -> bytes:
        changed = {**event, "event_id": str(uuid.UUID(int=draw.getrandbits(128))), **fields}
        return to_line({k: v for k, v in changed.items() if v is not ...}, draw).rstrip(b"\r")

    return breaker


def _truncated(event: Event, draw: random.Random) -> bytes:
    line = json.dumps(event).encode()
    return line[: draw.randint(1, len(line) - 1)]


BREAKERS: Final[list[Any]] = [
    lambda _event, _draw: b"this is no JSON",
    lambda _event, draw: draw.choice((b"[]", b"17", b'"text"', b"null", b"true", b'[{"event_type": "log"}]')),
    lambda _event, draw: draw.choice((b"", b"   ", b"\t", b"\r")),  # empty: skipped, no dead letter
    lambda _event, draw: b'{"event_type": "log", "message": "\xff\xfe %d"}' % draw.randrange(10**6),
    lambda event, _draw: json.dumps(event).encode() * 2,
    lambda _event, draw: b"[" * draw.choice((3, 5000)),
    _truncated,
    _truncated,
    *(_with(event_id=wrong) for wrong in (..., None, 7, "no uuid")),
    *(_with(event_type=wrong) for wrong in (..., None, ["log"], "teleported", "Log")),
    *(_with(occurred_at=wrong) for wrong in (..., None, 1456790400, "yesterday", "2016-02-30T00:00:00Z")),
    *(_with(occurred_at=wrong) for wrong in ("2016-03-01T00:00:00", "", "2999-01-01T00:00:00Z")),
    _with(event_version=2),
    _with(event_type="page_viewed", customer_id=..., anonymous_id=...),
    _with(event_type="page_viewed", customer_id="x" * 129),
    _with(event_type="refund", customer_id="c-1", order_id="o", amount=-1, currency="EUR"),
    _with(event_type="refund", customer_id="c-1", order_id="o", amount="1.00", currency="XXX"),
    _with(event_type="refund", customer_id="c-1", order_id="o", amount="NaN", currency="EUR"),
    _with(event_type="purchase", customer_id="c-1", order_id="o", amount="much", currency="EUR"),
    _with(event_type="log", service="s", level="loud", message="m"),
    _with(event_type="product_reviewed", customer_id="c-1", product_id="p", rating=6),
    _with(context="here"),
]

# --------------------------------------------------------------------------------------------- judge

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


# --------------------------------------------------------------------------------------------- check

FACT_IDS: Final = " UNION ALL ".join(
    f"SELECT event_id::text FROM silver.silver_{table}"  # noqa: S608  (our own names)
    for table in ("transactions", "product_events", "customer_events", "system_logs")
)
BRONZE_ROWS: Final = " + ".join(
    f"(SELECT count(*) FROM bronze.bronze_{table})"  # noqa: S608  (our own names)
    for table in ("customer_events", "transaction_events", "product_events", "system_logs")
)
SESSIONS: Final = (
    "SELECT visitor_id, started_at, ended_at, events, purchases, revenue_base FROM silver.silver_sessions"
)
PRODUCTS: Final = "SELECT product_id, name, price, is_listed FROM silver.silver_products"


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


def check(paths: Sequence[Path], url: str, rates: Rates) -> bool:
    """Compare the database with the files, print what differs and say whether nothing does."""
    judged = judge(paths, rates)
    with psycopg.connect(url, options="-c TimeZone=UTC") as connection:

        def rows(query: str) -> list[Any]:
            return connection.execute(query.encode()).fetchall()

        letters = "SELECT payload FROM silver.dead_letters WHERE status = 'pending'"
        return all(
            [
                _compare(
                    "records in bronze", [judged.lines], [row[0] for row in rows(f"SELECT {BRONZE_ROWS}")]
                ),
                _compare("facts by id", list(judged.events), [row[0] for row in rows(FACT_IDS)]),
                _compare(
                    "dead letters by payload",
                    list(judged.broken.elements()),
                    [bytes(row[0]) for row in rows(letters)],
                ),
                _compare(
                    "sessions", cut_sessions(judged.events, rates), [Session(*row) for row in rows(SESSIONS)]
                ),
                _compare("products", last_listings(judged.events), rows(PRODUCTS)),
            ]
        )


def _compare(what: str, wanted: Sequence[Any], found: Sequence[Any]) -> bool:
    missing, extra = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    is_equal = not missing and not extra
    print(f"{what:24} {len(wanted):8} wanted {len(found):8} found   {'equal' if is_equal else 'DIFFERENT'}")
    for name, difference in (("missing", missing), ("too many", extra)):
        for one in list(difference.elements())[:5]:
            print(f"    {name}: {one!r:.300}")
        if difference:
            print(f"    {name}: {difference.total()} in all")
    return is_equal


def main() -> None:
    """Make a file, or check what came of one; the exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("make")
    making.add_argument("file", type=Path)
    making.add_argument("--events", type=int, default=50_000, help="lines in all")
    making.add_argument("--seed", type=int, default=7)
    checking = actions.add_parser("check")
    checking.add_argument("files", type=Path, nargs="+")
    checking.add_argument("--url", help="of the database; else that of the running pipeline")
    given = parser.parse_args()
    rates = Rates(RATES_FILE)
    if given.action == "make":
        given.file.write_bytes(b"\n".join(make_lines(given.events, given.seed)) + b"\n")
        judged = judge([given.file], rates)
        print(f"{given.file}: {judged.lines} lines with content, {len(judged.events)} distinct good events,")
        print(f"{judged.broken.total()} broken lines, {len(cut_sessions(judged.events, rates))} sessions")
        return
    if given.url is None:
        from pipeline.settings import load_settings  # noqa: PLC0415  (only for the default)

        given.url = load_settings().postgres_url.get_secret_value()
    sys.exit(not check(given.files, given.url, rates))


if __name__ == "__main__":
    main()
