"""Makes events that our producer did not make: old, shuffled, of all streams, some repeated, some broken.

Nothing of the pipeline is imported; see `foreign_events.py`.
"""

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

GAP: Final = timedelta(minutes=30)
BEGIN: Final = datetime(2016, 2, 1, tzinfo=UTC)
DAYS: Final = 90
LOGS: Final = 0.25
LISTINGS: Final = 0.03

Event = dict[str, Any]


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
