"""For each column of gold, the columns of silver that it comes from: checked by hand for some."""

import json
from typing import Any

import pytest
from conftest import Built

from pipeline.gold.build import write_docs
from pipeline.gold.documentation import describe_origins
from pipeline.gold.lineage import ROWS, Relation, find_origins, read_query

MADE_OF_NOTHING = {
    ("gold_business_metrics", "grain"),
    ("gold_business_metrics", "period_start"),
    ("gold_business_metrics", "period_end"),
    ("gold_churn_by_segment", "month"),
}
"""Days and months of the calendar."""
BY_HAND = {
    ("gold_business_metrics", "revenue"): {"silver_transactions.amount_base"},
    ("gold_business_metrics", "revenue_yoy"): {"silver_transactions.amount_base"},
    ("gold_business_metrics", "orders"): {"silver_transactions (rows)"},
    ("gold_business_metrics", "sessions"): {"silver_sessions (rows)"},
    ("gold_business_metrics", "conversion_rate"): {"silver_sessions (rows)", "silver_sessions.purchases"},
    ("gold_business_metrics", "marketing_spend"): {"marketing_spend.spend"},
    ("gold_business_metrics", "is_complete"): {"snapshot_run.as_of"},
    ("gold_acquisition", "is_paid"): {"channels.is_paid"},
    ("gold_acquisition", "ltv_historical"): {
        "silver_transactions (rows)",
        "silver_transactions.amount_base",
    },
    ("gold_churn_by_segment", "customers_before"): {"silver_transactions (rows)"},
    ("gold_cohort_analysis", "active"): {"silver_transactions (rows)"},
    ("gold_customer_analytics", "country"): {"silver_customers.country", "silver_sessions.country"},
    ("gold_customer_analytics", "acquisition_channel"): {"silver_sessions.channel"},
    ("gold_customer_analytics", "churn_risk"): {"customer_lifetimes.p_alive"},
    ("gold_customer_analytics", "recency_days"): {"silver_transactions.occurred_at", "snapshot_run.as_of"},
    ("gold_customer_analytics", "favourite_category"): {"silver_transactions.items"},
    ("gold_customer_features", "cart_abandonment"): {
        "silver_sessions (rows)",
        "silver_sessions.carts",
        "silver_sessions.purchases",
    },
    ("gold_product_performance", "category"): {"silver_products.category", "silver_transactions.items"},
    ("gold_product_performance", "rating"): {
        "silver_product_events.event_id",  # of those that bots made
        "silver_product_events.event_type",
        "silver_product_events.is_bot",
        "silver_product_events.rating",
    },
    ("gold_revenue_attribution", "campaign"): {"silver_sessions.campaign"},
    ("gold_system_health", "errors"): {"silver_system_logs (rows)", "silver_system_logs.level"},
    ("gold_system_health", "latency_ms_p95"): {"silver_system_logs.latency_ms"},
}
SHOP = {"silver": {"orders": {"id": "text", "amount": "numeric", "at": "date"}, "days": {"day": "date"}}}
ORDERS = Relation("silver", "orders")


@pytest.fixture(scope="module")
def documentation(built: Built) -> tuple[dict[str, Any], dict[str, Any]]:
    """What dbt knows of the project, and of the tables that are there."""
    page = write_docs(built.settings, project=built.project)
    manifest, catalog = (
        json.loads((page.parent / f"{name}.json").read_text()) for name in ("manifest", "catalog")
    )
    return manifest, catalog


@pytest.mark.real
@pytest.mark.filterwarnings("default")  # dbt leaves files to the garbage collector
def test_every_column_of_every_table_is_described_and_no_other(
    documentation: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    manifest, catalog = documentation
    assert len(catalog["nodes"]) > 50
    for key, node in catalog["nodes"].items():
        described = {
            name for name, column in manifest["nodes"][key]["columns"].items() if column["description"]
        }
        assert described == set(node["columns"]), key


@pytest.fixture(scope="module")
def origins(documentation: tuple[dict[str, Any], dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    manifest, catalog = documentation
    return {
        (key.rpartition(".")[2], column): set(places)
        for key, columns in find_origins(manifest, catalog).items()
        for column, places in columns.items()
    }


@pytest.mark.real
@pytest.mark.filterwarnings("default")  # dbt leaves files to the garbage collector
def test_every_column_of_gold_comes_from_silver_or_seeds(
    origins: dict[tuple[str, str], set[str]], built: Built
) -> None:
    columns = built.rows(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'gold'"
    )
    assert len(columns) > 100
    found = {(row["table_name"], row["column_name"]) for row in columns}
    assert {place for place in found if not origins[place]} == MADE_OF_NOTHING
    tables = {name.partition(".")[0].partition(" ")[0] for place in found for name in origins[place]}
    seeds = {path.stem for path in (built.project / "seeds").glob("*.csv")}
    assert {t for t in tables - seeds if not t.startswith("silver_")} == {
        "snapshot_run",
        "customer_lifetimes",
    }
    assert {place: origins[place] for place in BY_HAND} == BY_HAND


def test_a_column_comes_from_what_it_is_computed_from_through_queries_with_names() -> None:
    query = """
        with paid as (select id, amount * 2 as twice, at from silver.orders where amount > 0),
        final as (
            select at as day, sum(twice) as revenue, count(*) as orders, 'shop' as source
            from paid group by at
        )
        select * from final
    """
    assert read_query(query, SHOP) == {
        "day": {(ORDERS, "at")},
        "revenue": {(ORDERS, "amount")},
        "orders": {(ORDERS, ROWS)},
        "source": set(),
        ROWS: {(ORDERS, ROWS)},
    }


def test_rows_of_a_calendar_are_those_of_what_is_joined_to_it() -> None:
    query = "select count(*) as n from silver.days as d left join silver.orders as o on d.day = o.at"
    days = Relation("silver", "days")
    assert read_query(query, SHOP)["n"] == {(days, ROWS)}
    assert read_query(query, SHOP, {days})["n"] == {(ORDERS, ROWS)}
    generated = "select day::date as day from generate_series(now(), now(), interval '1 day') as series (day)"
    assert read_query(generated, SHOP) == {"day": set(), ROWS: set()}


def test_what_is_no_sql_has_no_columns() -> None:
    assert read_query("", SHOP) == read_query("select from where", SHOP) == {}


def test_a_model_that_reads_itself_is_followed_once() -> None:
    def model(name: str, query: str, *before: str) -> dict[str, Any]:
        return {
            "resource_type": "model",
            "schema": "core",
            "name": name,
            "compiled_code": query,
            "depends_on": {"nodes": list(before)},
        }

    manifest = {
        "nodes": {
            "m.totals": model(
                "totals", "select id, n from core.orders union all select id, n from core.totals", "m.orders"
            ),
            "m.orders": model(
                "orders", "select id, count(*) as n from staging.snapshot_orders group by id", "s.orders"
            ),
        }
    }
    tables = {
        "snapshot_orders": ("staging", ["id"]),
        "orders": ("core", ["id", "n"]),
        "totals": ("core", ["id", "n"]),
    }
    catalog = {
        "sources": {},
        "nodes": {
            name: {
                "metadata": {"schema": schema, "name": name},
                "columns": {c: {"type": "text"} for c in columns},
            }
            for name, (schema, columns) in tables.items()
        },
    }
    assert find_origins(manifest, catalog)["m.totals"] == {
        "id": ["silver_orders.id"],
        "n": ["silver_orders (rows)"],
    }


def test_descriptions_end_with_the_origins() -> None:
    manifest = {
        "nodes": {"m": {"columns": {"revenue": {"description": "Money."}, "grain": {"description": "Day."}}}}
    }
    describe_origins(
        manifest, {"m": {"revenue": ["silver_orders.amount", "rates.rate"], "grain": [], "other": ["x.y"]}}
    )
    assert manifest["nodes"]["m"]["columns"] == {
        "revenue": {"description": "Money. From `silver_orders.amount`, `rates.rate`."},
        "grain": {"description": "Day."},
    }


def test_a_query_that_names_itself_has_the_rows_it_begins_with() -> None:
    query = """
        with recursive reached as (
            select id from silver.orders
            union
            select orders.id from reached inner join silver.orders as orders on reached.id = orders.id
        )
        select id, count(*) as n from reached group by id
    """
    assert read_query(query, SHOP)["n"] == {(ORDERS, ROWS)}
