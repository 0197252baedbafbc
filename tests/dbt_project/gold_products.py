"""The rows of gold that are about products, by day."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from gold_comparison import Expected, Key
from gold_reference import Reference, Row, rounded, shared_out
from gold_sums import Sums, ratio


def product_performance(sums: Sums) -> Expected:
    reference = sums.reference
    events: dict[Key, list[Row]] = defaultdict(list)
    for event in _people_with_products(reference):
        events[event["product_id"], event["occurred_at"].date()].append(event)
    units: Counter[Key] = Counter()
    revenue: dict[Key, Decimal] = defaultdict(Decimal)
    sold_as: dict[str, tuple[Key, str]] = {}
    for order_id, refunds in reference.refunds_by_order().items():
        order = reference.orders.get(order_id)
        items = (order or {}).get("items") or []
        for row, amounts in shared_out(order, refunds, line_shares(order or {})):
            day = row["occurred_at"].date()
            for number, (item, amount) in enumerate(zip(items, amounts, strict=True)):
                revenue[item["product_id"], day] += amount
                units[item["product_id"], day] += item["quantity"] if row is order else 0
                # the newest day, then the first order by id, then its first line
                place = (date.max - day, order_id, number)
                if row is order and place < sold_as.get(item["product_id"], ((timedelta.max,), ""))[0]:
                    sold_as[item["product_id"]] = place, item["category"]
    catalogue = {row["product_id"]: row for row in reference.world.products}
    rows: dict[Key, Row] = {}
    for key in [*(events | revenue)]:
        entry = catalogue.get(key[0], {})
        kinds = Counter(event["event_type"] for event in events[key])
        ratings = [event["rating"] for event in events[key] if event["event_type"] == "product_reviewed"]
        rows[key] = {
            "name": entry.get("name"),
            "category": entry.get("category") or sold_as.get(key[0], ((), "unknown"))[1],
            "views": kinds["product_viewed"],
            "carts": kinds["cart_added"],
            "purchases": units[key],
            "revenue": rounded(revenue[key]),
            "reviews": len(ratings),
            "rating": ratio(sum(ratings), len(ratings)),
        }
    return Expected(("product_id", "day"), rows)


def _people_with_products(reference: Reference) -> Iterator[Row]:
    """Give what visitors did with products, without robots and runaway sessions."""
    left_out: dict[str, list[Row]] = defaultdict(list)
    for session in reference.seen(reference.world.sessions, "started_at"):
        if session["is_bot"] or session["is_runaway"]:
            left_out[session["visitor_id"]].append(session)
    for event in reference.seen(reference.world.product_events, "occurred_at"):
        if event["product_id"] is None or event["event_type"] in ("product_listed", "product_delisted"):
            continue
        if event["is_bot"] or any(
            session["started_at"] <= event["occurred_at"] <= session["ended_at"]
            for session in left_out[event["visitor_id"]]
        ):
            continue
        yield event


def line_shares(order: Row) -> list[Fraction]:
    """Give each line's share of an order: by its price; lines that are all free share alike."""
    prices = [Fraction(item["unit_price"]) * item["quantity"] for item in order.get("items") or []]
    total = sum(prices)
    return [price / total if total else Fraction(1, len(prices)) for price in prices]
