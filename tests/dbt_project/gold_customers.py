"""The rows of gold that are about customers, one by one."""

import calendar
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from gold_comparison import Expected, Key
from gold_products import line_shares
from gold_reference import Reference, Row, rounded, shared_out
from gold_sums import Sums, money, ratio, segment_of

WINDOW: Final = timedelta(days=30)


def customer_analytics(sums: Sums) -> Expected:
    reference = sums.reference
    rfm, risks, mrr = reference.rfm(), reference.payment_risks(), reference.mrr(reference.as_of)
    subscriptions = _active_subscriptions(reference)
    lines = _sales(reference)
    rows: dict[Key, Row] = {}
    for customer, created_at in _created(sums).items():
        score, risk = rfm.get(customer), risks.get(customer)
        visits, active = sums.visits[customer], subscriptions[customer]
        rows[(customer,)] = {
            "created_at": created_at,
            "country": sums.country(customer),
            "acquisition_channel": sums.channel(customer),
            "acquisition_campaign": sums.first_visit.get(customer, {}).get("campaign"),
            "is_deleted": sums.profiles.get(customer, {}).get("is_deleted", False),
            **_bought(reference, sums.orders[customer], sums.revenue[customer]),
            "tenure_days": (reference.as_of.date() - created_at.date()).days,
            **{f"{name}_score": int(score[n]) if score else None for n, name in enumerate("rfm")},
            "rfm_score": score,
            "segment": segment_of(score) if score else None,
            "payment_risk": risk,
            "payment_risk_band": None if risk is None else _band(risk),
            "mrr": rounded(mrr.get(customer, Decimal(0))),
            "plan": active[0]["plan"] if active else None,
            "subscribed_since": min((spell["since"] for spell in active), default=None),
            "sessions_30d": sum(visit["started_at"] >= reference.as_of - WINDOW for visit in visits),
            "last_session_at": max((visit["started_at"] for visit in visits), default=None),
            "favourite_category": _favourite(lines[customer]),
        }
    return Expected(("customer_id",), rows)


def customer_features(sums: Sums) -> Expected:
    reference = sums.reference
    as_of, today = reference.as_of, reference.as_of.date()
    refunded: Counter[str] = Counter()
    for refund in reference.refunds:
        refunded[refund["customer_id"]] += refund["amount_base"]
    rows: dict[Key, Row] = {}
    for customer, created_at in _created(sums).items():
        orders, visits = sums.orders[customer], sums.visits[customer]
        ordered = [order["occurred_at"] for order in orders]
        days = {at.date() for at in ordered}
        visited = [visit["started_at"] for visit in visits]
        bought = _now_and_before(ordered, _months_ago(as_of, 3), _months_ago(as_of, 6))
        came = _now_and_before(visited, as_of - WINDOW, as_of - 2 * WINDOW)
        with_cart = [visit for visit in visits if visit["carts"]]
        rows[(customer,)] = {
            "acquisition_channel": sums.channel(customer),
            "orders": len(orders),
            "recency_days": (today - max(days)).days if days else None,
            "repeat_order_days": len(days) - 1 if days else None,
            "orders_3m": bought[0],
            "orders_3m_before": bought[1],
            "order_trend": ratio(bought[0] - bought[1], bought[1]),
            "refund_share": ratio(
                refunded[customer], sum((order["amount_base"] for order in orders), Decimal(0))
            ),
            "sessions_30d": came[0],
            "sessions_30d_before": came[1],
            "session_trend": ratio(came[0] - came[1], came[1]),
            "cart_abandonment": ratio(sum(not visit["purchases"] for visit in with_cart), len(with_cart)),
            "days_since_last_session": (today - max(visited).date()).days if visited else None,
            "tenure_days": (today - created_at.date()).days,
        }
    return Expected(("customer_id",), rows)


def _now_and_before(instants: list[datetime], began: datetime, began_before: datetime) -> tuple[int, int]:
    """Give how many are of a stretch of time, and of the one before it."""
    return sum(at >= began for at in instants), sum(began_before <= at < began for at in instants)


def _months_ago(at: datetime, months: int) -> datetime:
    """Give the same time of the same day of an earlier month, or of its last day."""
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    return at.replace(year=year, month=month + 1, day=min(at.day, calendar.monthrange(year, month + 1)[1]))


def _created(sums: Sums) -> dict[str, datetime]:
    """Give since when customers are there: since they signed up, else since they were seen first."""
    seen: dict[str, datetime] = {}
    for customer, at in _sightings(sums):
        seen[customer] = min(at, seen.get(customer, at))
    return {
        customer: sums.profiles.get(customer, {}).get("created_at") or first
        for customer, first in seen.items()
    }


def _sightings(sums: Sums) -> Iterator[tuple[str, datetime]]:
    reference = sums.reference
    for profile in sums.profiles.values():
        yield profile["customer_id"], profile["first_seen_at"]
    for row in (*reference.transactions, *reference.seen(reference.world.customer_events, "occurred_at")):
        yield row["customer_id"], row["occurred_at"]
    for visit in reference.visits:
        if visit["customer_id"]:
            yield visit["customer_id"], visit["started_at"]


def _bought(reference: Reference, orders: list[Row], revenue: Decimal) -> Row:
    today = reference.as_of.date()
    instants = sorted(order["occurred_at"] for order in orders)
    a_day: dict[date, Decimal] = defaultdict(Decimal)
    for order in orders:
        a_day[order["occurred_at"].date()] += order["amount_base"]
    days = sorted(a_day)
    repeats = [a_day[day] for day in days[1:]]
    return {
        "orders": len(orders),
        "revenue": rounded(revenue),
        "ltv_historical": rounded(revenue),
        "aov": money(ratio(revenue, len(orders))),
        "first_order_at": instants[0] if orders else None,
        "last_order_at": instants[-1] if orders else None,
        "recency_days": (today - days[-1]).days if orders else None,
        "repeat_order_days": len(repeats) if orders else None,
        "order_span_days": (days[-1] - days[0]).days if orders else None,
        "age_days": (today - days[0]).days if orders else None,
        "repeat_order_value": money(ratio(sum(repeats, Decimal(0)), len(repeats))),
    }


def _active_subscriptions(reference: Reference) -> dict[str, list[Row]]:
    """Give each customer's subscriptions that are active now, the largest first."""
    since: dict[str, datetime] = {}
    for spell in reference.spells:
        known = since.get(spell["subscription_id"], spell["from"])
        since[spell["subscription_id"]] = min(known, spell["from"])
    found: dict[str, list[Row]] = defaultdict(list)
    for spell in reference.spells:
        if spell["to"] >= reference.as_of:
            found[spell["customer_id"]].append({**spell, "since": since[spell["subscription_id"]]})
    for spells in found.values():
        spells.sort(key=lambda spell: (-spell["mrr"], spell["subscription_id"]))
    return found


def _sales(reference: Reference) -> dict[str, list[tuple[Row, Decimal]]]:
    """Give the lines of each customer's orders, with what was paid for each."""
    found: dict[str, list[tuple[Row, Decimal]]] = defaultdict(list)
    for order in reference.orders.values():
        [(_, amounts)] = shared_out(order, [], line_shares(order))
        found[order["customer_id"]] += zip(order.get("items") or [], amounts, strict=True)
    return found


def _favourite(lines: list[tuple[Row, Decimal]]) -> str | None:
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for item, amount in lines:
        paid[item["category"]] += amount
    return min(paid, key=lambda category: (-paid[category], category), default=None)


def _band(risk: float) -> str:
    return "low" if risk < 0.3 else "medium" if risk < 0.7 else "high"
