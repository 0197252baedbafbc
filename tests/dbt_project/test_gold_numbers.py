"""Gold against the same metrics computed in plain Python from the same silver."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

import pytest
from conftest import Built
from gold_reference import MODELS, month_of, next_month
from gold_world import AS_OF, CENT

pytestmark = [
    pytest.mark.real,
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]


def cents(value: Decimal) -> Decimal:
    return value.quantize(CENT, rounding=ROUND_HALF_UP)


def test_all_is_built_and_every_test_of_it_passes(built: Built) -> None:
    assert built.run.message == ""
    assert built.run.status == "success"
    # an order_id sent twice is reported, and no more than that
    assert [n["name"] for n in built.run.results if n["status"] == "warn"] == ["order_counts_once"]
    assert built.run.as_of == AS_OF


@pytest.mark.parametrize("grain", ["day", "month"])
def test_business_metrics(built: Built, grain: str) -> None:
    reference = built.reference
    rows = built.rows(
        f"SELECT * FROM gold.gold_business_metrics WHERE grain = '{grain}' ORDER BY period_start"
    )
    expected = []
    for start, end in reference.periods(grain):
        revenue, orders = reference.revenue(start, end), reference.orders_in(start, end)
        visits = [v for v in reference.visits if start <= v["started_at"].date() < end]
        expected.append(
            {
                "period_start": start,
                "is_complete": end <= AS_OF.date(),
                "revenue": revenue,
                "orders": len(orders),
                "aov": cents(revenue / len(orders)) if orders else None,
                "customers_new": len(reference.new_customers(start, end)),
                "customers_active": len(reference.active_customers(start, end)),
                "sessions": len(visits),
                "conversion_rate": sum(v["purchases"] > 0 for v in visits) / len(visits) if visits else None,
            }
        )
    assert [_only(row, expected[0]) for row in rows] == [
        {**row, "conversion_rate": _approx(row["conversion_rate"])} for row in expected
    ]


@pytest.mark.parametrize("grain", ["day", "month"])
def test_recurring_revenue_and_its_movements(built: Built, grain: str) -> None:
    names = [
        "mrr_start",
        "mrr",
        "mrr_new",
        "mrr_reactivation",
        "mrr_expansion",
        "mrr_contraction",
        "mrr_churned",
    ]
    rows = built.rows(
        f"SELECT * FROM gold.gold_business_metrics WHERE grain = '{grain}' ORDER BY period_start"
    )
    expected = [built.reference.mrr_movements(start, end) for start, end in built.reference.periods(grain)]
    assert [[row[name] for name in names] for row in rows] == [
        [moved[name] for name in names] for moved in expected
    ]
    if grain == "month":  # the world has every kind of movement in it
        assert all(any(row[name] for row in rows) for name in names)


def test_monthly_changes_and_churn(built: Built) -> None:
    reference = built.reference
    rows = built.rows("SELECT * FROM gold.gold_business_metrics WHERE grain = 'month' ORDER BY period_start")
    periods = reference.periods("month")
    revenue = [reference.revenue(*period) for period in periods]
    active = [reference.active_customers(*period) for period in periods]
    for n, row in enumerate(rows):
        before = revenue[n - 1] if n else None
        year_before = revenue[n - 12] if n >= 12 else None
        assert row["revenue_previous"] == before
        assert row["revenue_mom"] == _approx((revenue[n] - before) / before if before else None)
        assert row["revenue_yoy"] == _approx(
            (revenue[n] - year_before) / year_before if year_before else None
        )
        left = len(active[n - 1] - active[n]) / len(active[n - 1]) if n and active[n - 1] else None
        assert row["customer_churn_rate"] == _approx(left)


def test_costs_of_customers(built: Built) -> None:
    rows = built.rows("SELECT * FROM gold.gold_business_metrics WHERE grain = 'month' ORDER BY period_start")
    spend: dict[Any, Decimal] = defaultdict(Decimal)
    for day, _, _, amount in built.world.spend:
        spend[day[:7]] += Decimal(amount)
    revenue = built.reference.revenue_by_customer()
    for row in rows:
        spent = spend[row["period_start"].isoformat()[:7]]
        new = built.reference.new_customers(row["period_start"], row["period_end"])
        assert row["marketing_spend"] == spent
        assert row["cac_blended"] == (cents(spent / len(new)) if new else None)
        worth = sum(revenue[customer] for customer in new) / spent if new and spent else None
        assert row["ltv_to_cac"] == _approx(worth)


def test_payment_risk(built: Built) -> None:
    expected = built.reference.payment_risks()
    rows = {row["customer_id"]: row for row in built.rows("SELECT * FROM gold.gold_customer_analytics")}
    found = {name: row["payment_risk"] for name, row in rows.items() if row["payment_risk"] is not None}
    assert found == pytest.approx(expected, abs=1e-8)
    assert max(found.values()) > 0.1
    assert {row["payment_risk_band"] for row in rows.values()} >= {"low", None}


def test_cohorts(built: Built) -> None:
    reference = built.reference
    rows = built.rows("SELECT * FROM gold.gold_cohort_analysis ORDER BY cohort_month, months_since")
    found = {(row["cohort_month"], row["months_since"]): row for row in rows}
    months = [start for start, _ in reference.periods("month")]
    expected_keys = set()
    for at, cohort in enumerate(months):
        members = reference.new_customers(cohort, next_month(cohort))
        if not members:
            continue
        total = Decimal(0)
        for since, month in enumerate(months[at:]):
            expected_keys.add((cohort, since))
            row = found[cohort, since]
            buyers = {o["customer_id"] for o in reference.orders_in(month, next_month(month))}
            revenue = sum(
                (
                    amount
                    for booking, amount in reference.bookings()
                    if booking["customer_id"] in members and month_of(booking["occurred_at"].date()) == month
                ),
                Decimal(0),
            )
            total += revenue
            active = len(buyers & members)
            assert (row["customers"], row["active"], row["revenue"]) == (len(members), active, revenue)
            assert row["retention"] == _approx(active / len(members))
            assert row["ltv_cumulative"] == cents(total / len(members))
            assert row["revenue_per_customer"] == cents(revenue / len(members))
    assert found.keys() == expected_keys


def test_customers(built: Built) -> None:
    reference = built.reference
    rows = {row["customer_id"]: row for row in built.rows("SELECT * FROM gold.gold_customer_analytics")}
    rfm, revenue, mrr = reference.rfm(), reference.revenue_by_customer(), reference.mrr(AS_OF)
    orders = Counter(row["customer_id"] for row in reference.orders.values())
    created = {c["customer_id"] for c in built.world.customers if c["first_seen_at"] < AS_OF}
    visited = {v["customer_id"] for v in reference.visits if v["customer_id"]}
    assert rows.keys() == created | visited | {row["customer_id"] for row in reference.transactions}
    for customer, row in rows.items():
        assert row["orders"] == orders[customer]
        assert row["revenue"] == revenue.get(customer, 0) == row["ltv_historical"]
        assert row["rfm_score"] == rfm.get(customer)
        assert (row["segment"] is None) == (customer not in rfm)
        assert row["mrr"] == mrr.get(customer, 0)
        assert row["aov"] == (cents(revenue[customer] / orders[customer]) if orders[customer] else None)
        own = sorted(o["occurred_at"] for o in reference.orders.values() if o["customer_id"] == customer)
        assert row["recency_days"] == ((AS_OF.date() - own[-1].date()).days if own else None)
        visits = sorted(
            (v for v in reference.visits if v["customer_id"] == customer),
            key=lambda v: (v["started_at"], v["session_id"]),
        )
        assert row["acquisition_channel"] == (visits[0]["channel"] if visits else "direct")
        assert row["sessions_30d"] == sum(
            (AS_OF - v["started_at"]).total_seconds() <= 30 * 86400 for v in visits
        )


def test_buy_till_you_die_summary(built: Built) -> None:
    rows = built.rows("SELECT * FROM gold.gold_customer_analytics WHERE orders > 0")
    for row in rows:
        days: dict[Any, Decimal] = defaultdict(Decimal)
        for order in built.reference.orders.values():
            if order["customer_id"] == row["customer_id"]:
                days[order["occurred_at"].date()] += order["amount_base"]
        first, *repeat = sorted(days)
        assert row["repeat_order_days"] == len(repeat)
        assert row["order_span_days"] == ((repeat[-1] - first).days if repeat else 0)
        assert row["age_days"] == (AS_OF.date() - first).days
        mean = cents(sum(days[day] for day in repeat) / len(repeat)) if repeat else None
        assert row["repeat_order_value"] == mean


def test_attribution_to_the_cent(built: Built) -> None:
    rows = built.rows("SELECT * FROM gold.gold_revenue_attribution")
    expected = built.reference.attribution()
    found = {(r["day"], r["model"], r["channel"], r["campaign"], r["category"]): r for r in rows}
    # a touch whose share is nothing has no row
    assert {key for key, value in expected.items() if any(value)} <= found.keys() <= expected.keys()
    for key, row in found.items():
        share, amount = expected[key]
        assert row["revenue"] == amount, key
        assert row["conversions"] == _approx(float(share))
    total = sum(amount for _, amount in built.reference.bookings())
    for model in MODELS:
        assert sum(row["revenue"] for row in rows if row["model"] == model) == total


def test_returns_keep_all_spend_and_all_revenue(built: Built) -> None:
    [totals] = built.rows("""
        SELECT sum(revenue) / 6 AS revenue, sum(spend) / 6 AS spend FROM gold.gold_channel_returns
    """)
    assert totals["revenue"] == sum(amount for _, amount in built.reference.bookings())
    assert totals["spend"] == sum(Decimal(row[3]) for row in built.world.spend)


def test_visits(built: Built) -> None:
    rows = built.rows("SELECT * FROM core.fct_sessions")
    columns = ("session_id", "customer_id", "started_at", "ended_at", "purchases")
    assert {tuple(row[c] for c in columns) for row in rows} == {
        tuple(visit[c] for c in columns) for visit in built.reference.visits
    }
    assert any(row["sessions"] > 1 for row in rows)


def test_acquisition_by_channel_sums_to_the_month(built: Built) -> None:
    rows = built.rows("""
        SELECT month, sum(customers_new) AS customers_new, sum(marketing_spend) AS spend
        FROM gold.gold_acquisition GROUP BY month
    """)
    found = {row["month"]: (row["customers_new"], row["spend"]) for row in rows}
    for start, end in built.reference.periods("month"):
        spend = sum(Decimal(row[3]) for row in built.world.spend if start.isoformat()[:7] == row[0][:7])
        assert found.get(start, (0, 0)) == (len(built.reference.new_customers(start, end)), spend)


def test_churn_by_country(built: Built) -> None:
    reference = built.reference
    country = {c["customer_id"]: c["country"] for c in built.world.customers if c["country"]}
    rows = built.rows("SELECT * FROM gold.gold_churn_by_segment WHERE dimension = 'country' AND value = 'DE'")
    found = {row["month"]: (row["customers_before"], row["customers_churned"]) for row in rows}
    periods = reference.periods("month")
    for before, month in pairwise(periods):
        was = {c for c in reference.active_customers(*before) if country.get(c) == "DE"}
        left = was - reference.active_customers(*month)
        assert found.get(month[0], (0, 0)) == (len(was), len(left))


def test_features(built: Built) -> None:
    rows = {row["customer_id"]: row for row in built.rows("SELECT * FROM gold.gold_customer_features")}
    reference = built.reference
    recent, earlier = datetime(2025, 11, 15, 12, tzinfo=UTC), datetime(2025, 8, 15, 12, tzinfo=UTC)
    own: dict[str, list[datetime]] = defaultdict(list)
    for order in reference.orders.values():
        own[order["customer_id"]].append(order["occurred_at"])
    for customer, row in rows.items():
        last = sum(at >= recent for at in own[customer])
        before = sum(earlier <= at < recent for at in own[customer])
        assert (row["orders_3m"], row["orders_3m_before"]) == (last, before)
        assert row["order_trend"] == _approx((last - before) / before if before else None)
    assert any(row["order_trend"] is not None for row in rows.values())


def test_system_health_and_products(built: Built) -> None:
    [logs] = built.rows("SELECT sum(logs) AS logs, sum(errors) AS errors FROM gold.gold_system_health")
    assert logs == {"logs": 199, "errors": 19}  # the newest of 200, an error, is at as_of itself
    [product] = built.rows("""
        SELECT views, carts FROM gold.gold_product_performance
        WHERE product_id = 'product-1' AND day = '2024-12-03'
    """)
    assert product == {"views": 2, "carts": 1}


def test_product_revenue_is_the_revenue_of_orders_with_lines(built: Built) -> None:
    [sold] = built.rows("SELECT sum(revenue) AS revenue FROM gold.gold_product_performance")
    with_lines = {order_id for order_id, row in built.reference.orders.items() if row.get("items")}
    assert sold["revenue"] == sum(
        amount for row, amount in built.reference.bookings() if row["order_id"] in with_lines
    )


def _only(row: dict[str, Any], columns: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in columns}


def _approx(value: Any) -> Any:
    return None if value is None else pytest.approx(Decimal(value), abs=Decimal("0.000002"))
