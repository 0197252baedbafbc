"""The rows of gold that a reference expects, whole tables."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from gold_comparison import Expected, Key
from gold_customers import customer_analytics, customer_features
from gold_health import system_health
from gold_products import product_performance
from gold_reference import MODELS, Reference, Row, month_of, next_month, rounded
from gold_sums import PAID, Sums, money, ratio, segment_of

MOVEMENTS: Final = (
    "mrr_start",
    "mrr",
    "mrr_new",
    "mrr_reactivation",
    "mrr_expansion",
    "mrr_contraction",
    "mrr_churned",
)


def business_metrics(sums: Sums) -> Expected:
    rows: dict[Key, Row] = {}
    for grain in ("day", "month"):
        before: list[Decimal] = []
        for number, (start, end) in enumerate(sums.reference.periods(grain)):
            row = _period(sums, start, end)
            monthly = grain == "month"
            previous = before[-1] if monthly and number else None
            year_before = before[-12] if monthly and number >= 12 else None
            row["revenue_previous"] = money(previous)
            row["revenue_mom"] = _change(row["revenue"], previous)
            row["revenue_yoy"] = _change(row["revenue"], year_before)
            was = sums.active[number - 1] if monthly and number else set()
            row["customer_churn_rate"] = ratio(len(was - sums.active[number]), len(was)) if was else None
            before.append(row["revenue"])
            rows[grain, start] = row
    return Expected(("grain", "period_start"), rows)


def _period(sums: Sums, start: date, end: date) -> Row:
    reference = sums.reference
    revenue, orders = reference.revenue(start, end), len(reference.orders_in(start, end))
    new = reference.new_customers(start, end)
    visits = [visit for n in range((end - start).days) for visit in sums.visits_on[start + timedelta(days=n)]]
    spent = sums.spent(start, end)
    movements = reference.mrr_movements(start, end)
    return {
        "period_end": end,
        "is_complete": sums.is_complete(end),
        "revenue": rounded(revenue),
        "orders": orders,
        "aov": money(ratio(revenue, orders)),
        "customers_new": len(new),
        "customers_active": len(reference.active_customers(start, end)),
        "sessions": len(visits),
        "conversion_rate": ratio(sum(visit["purchases"] > 0 for visit in visits), len(visits)),
        **{name: rounded(movements[name]) for name in MOVEMENTS},
        "marketing_spend": rounded(spent),
        "cac_paid": money(ratio(spent, sum(sums.channel(customer) in PAID for customer in new))),
        "cac_blended": money(ratio(spent, len(new))),
        "ltv_to_cac": _worth_to_cost(sum((sums.revenue[c] for c in new), Decimal(0)), spent, len(new)),
    }


def _change(now: Decimal, before: Decimal | None) -> Fraction | None:
    return None if before is None else ratio(now - before, before)


def _worth_to_cost(revenue: Decimal, spent: Decimal, customers: int) -> Fraction | None:
    """Give worth of a customer by cost of a customer; without any there is neither."""
    return ratio(revenue, spent) if customers else None


def acquisition(sums: Sums) -> Expected:
    rows: dict[Key, Row] = {}
    for start, end in sums.months:
        new: dict[str, set[str]] = defaultdict(set)
        for customer in sums.reference.new_customers(start, end):
            new[sums.channel(customer)].add(customer)
        paid_for = {channel for day, channel, _, _ in sums.reference.spend if start <= day < end}
        for channel in new.keys() | paid_for:
            customers = new[channel]
            revenue = sum((sums.revenue[customer] for customer in customers), Decimal(0))
            spent = sums.spent(start, end, channel)
            rows[start, channel] = {
                "is_paid": channel in PAID,
                "is_complete": sums.is_complete(end),
                "customers_new": len(customers),
                "marketing_spend": rounded(spent),
                "cac": money(ratio(spent, len(customers))),
                "revenue_to_date": rounded(revenue),
                "ltv_historical": money(ratio(revenue, len(customers))),
                "ltv_to_cac": _worth_to_cost(revenue, spent, len(customers)),
            }
    return Expected(("month", "channel"), rows)


def cohort_analysis(sums: Sums) -> Expected:
    reference, rows = sums.reference, {}
    booked: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for row, amount in reference.bookings():
        booked[row["customer_id"], month_of(row["occurred_at"].date())] += amount
    for number, (cohort, _) in enumerate(sums.months):
        members = reference.new_customers(cohort, next_month(cohort))
        total = Decimal(0)
        for since, (month, end) in enumerate(sums.months[number:] if members else []):
            active = members & {order["customer_id"] for order in reference.orders_in(month, end)}
            revenue = sum((booked[customer, month] for customer in members), Decimal(0))
            total += revenue
            rows[cohort, since] = {
                "is_complete": sums.is_complete(end),
                "customers": len(members),
                "active": len(active),
                "retention": ratio(len(active), len(members)),
                "revenue": rounded(revenue),
                "revenue_per_customer": money(ratio(revenue, len(members))),
                "ltv_cumulative": money(ratio(total, len(members))),
            }
    return Expected(("cohort_month", "months_since"), rows)


def churn_by_segment(sums: Sums) -> Expected:
    reference, rows = sums.reference, {}
    for number, (month, end) in enumerate(sums.months[1:], 1):
        was, now, rfm = sums.active[number - 1], sums.active[number], reference.rfm(month)
        dimensions: dict[str, Callable[[str], str | None]] = {
            "country": sums.country,
            "channel": sums.channel,
            "rfm_segment": lambda customer, rfm=rfm: segment_of(rfm[customer]) if customer in rfm else None,  # type: ignore[misc]  # mypy does not infer a lambda's default
        }
        for dimension, value_of in dimensions.items():
            groups: dict[str, set[str]] = defaultdict(set)
            for customer in was:
                groups[value_of(customer) or "(none)"].add(customer)
            for value, customers in groups.items():
                left = len(customers - now)
                rows[month, dimension, value] = {
                    "is_complete": sums.is_complete(end),
                    "customers_before": len(customers),
                    "customers_churned": left,
                    "customer_churn_rate": ratio(left, len(customers)),
                }
    return Expected(("month", "dimension", "value"), rows)


def revenue_attribution(sums: Sums) -> Expected:
    rows: dict[Key, Row] = {
        key: {"conversions": rounded(share, 6), "revenue": rounded(amount)}
        for key, (share, amount) in sums.reference.attribution().items()
    }
    return Expected(("day", "model", "channel", "campaign", "category"), rows)


def channel_returns(sums: Sums) -> Expected:
    revenue: dict[Key, Decimal] = defaultdict(Decimal)
    for (day, model, channel, campaign, _), (_, amount) in sums.reference.attribution().items():
        revenue[day, model, channel, campaign] += amount
    spent: dict[Key, Decimal] = defaultdict(Decimal)
    for day, channel, campaign, amount in sums.reference.spend:
        for model in MODELS:
            spent[day, model, channel, campaign or "(none)"] += amount
    rows: dict[Key, Row] = {
        key: {
            "revenue": rounded(revenue[key]),
            "spend": rounded(spent[key]),
            "roas": ratio(revenue[key], spent[key]),
        }
        for key in [*(revenue | spent)]
    }
    return Expected(("day", "model", "channel", "campaign"), rows)


TABLES: Final[Mapping[str, Callable[[Sums], Expected]]] = {
    "gold_business_metrics": business_metrics,
    "gold_acquisition": acquisition,
    "gold_cohort_analysis": cohort_analysis,
    "gold_churn_by_segment": churn_by_segment,
    "gold_customer_analytics": customer_analytics,
    "gold_customer_features": customer_features,
    "gold_revenue_attribution": revenue_attribution,
    "gold_channel_returns": channel_returns,
    "gold_product_performance": product_performance,
    "gold_system_health": system_health,
}


def gold_of(reference: Reference) -> dict[str, Expected]:
    """Give all rows of the tables of gold."""
    sums = Sums(reference)
    return {table: make(sums) for table, make in TABLES.items()}
