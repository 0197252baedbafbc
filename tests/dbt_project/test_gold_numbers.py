"""Gold against the same metrics computed in plain Python from the same silver."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from conftest import Built
from gold_comparison import Expected, differences
from gold_tables import MOVEMENTS, TABLES, gold_of
from gold_world import AS_OF

pytestmark = [
    pytest.mark.real,
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]


def test_all_is_built_and_every_test_of_it_passes(built: Built) -> None:
    assert built.run.message == ""
    assert built.run.status == "success"
    # an order_id sent twice is reported, and no more than that
    assert [n["name"] for n in built.run.results if n["status"] == "warn"] == ["order_counts_once"]
    assert built.run.as_of == AS_OF


@pytest.fixture(scope="module")
def expected(built: Built) -> dict[str, Expected]:
    return gold_of(built.reference)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_as_defined(built: Built, expected: dict[str, Expected], table: str) -> None:
    assert differences(expected[table], built.rows(f"SELECT * FROM gold.{table}")) == []


def test_the_world_has_every_movement_and_band_in_it(expected: dict[str, Expected]) -> None:
    months = [row for (grain, _), row in expected["gold_business_metrics"].rows.items() if grain == "month"]
    assert all(any(row[name] for row in months) for name in MOVEMENTS)
    customers = expected["gold_customer_analytics"].rows.values()
    assert max(row["payment_risk"] or 0 for row in customers) > 0.1
    assert {row["payment_risk_band"] for row in customers} >= {"low", None}


def test_visits(built: Built) -> None:
    rows = built.rows("SELECT * FROM core.fct_sessions")
    columns = ("session_id", "customer_id", "started_at", "ended_at", "purchases")
    assert {tuple(row[c] for c in columns) for row in rows} == {
        tuple(visit[c] for c in columns) for visit in built.reference.visits
    }
    assert any(row["sessions"] > 1 for row in rows)


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


def _approx(value: Any) -> Any:
    return None if value is None else pytest.approx(Decimal(value), abs=Decimal("0.000002"))
