"""What customers will be worth: fitted when due, noted, and the last good fit kept when one fails."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import psycopg
import pytest
from conftest import Built
from gold_world import AS_OF

from pipeline.gold import scores
from pipeline.gold.lifetime.purchases import History, NotFittedError, Purchasing
from pipeline.gold.lifetime.spending import Spending
from pipeline.gold.scores import PURCHASING, SPENDING, score_customers

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]


@pytest.fixture
def connection(built: Built) -> Iterator[psycopg.Connection]:
    """One whose changes are taken back, and a star that others may look at meanwhile."""
    with psycopg.connect(built.settings.postgres_url.get_secret_value(), autocommit=True) as connection:
        kept = [number for (number,) in connection.execute("SELECT id FROM ops.ops_ltv_fits")]
        yield connection
        connection.execute("DELETE FROM ops.ops_ltv_fits WHERE id <> ALL (%s)", (kept,))
        score_customers(built.settings.postgres_url.get_secret_value(), AS_OF)


def fits(built: Built, model: str) -> list[dict[str, object]]:
    return built.rows(f"SELECT * FROM ops.ops_ltv_fits WHERE model = '{model}' ORDER BY id")


def test_each_customers_scores_follow_from_the_parameters_that_are_noted(built: Built) -> None:
    [purchasing], [spending] = fits(built, PURCHASING), fits(built, SPENDING)
    assert purchasing["converged"]
    assert spending["converged"]
    assert purchasing["as_of"] == AS_OF
    days: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for order in built.reference.orders.values():
        days[order["customer_id"]][order["occurred_at"].date()] += order["amount_base"]
    assert purchasing["customers"] == len(days)
    model, money = Purchasing(**purchasing["parameters"]), Spending(**spending["parameters"])  # type: ignore[arg-type]  # a JSON object
    rows = {row["customer_id"]: row for row in built.rows("SELECT * FROM gold.gold_customer_analytics")}
    for customer, bought in days.items():
        first, last = min(bought), max(bought)
        repeats = [float(amount) for day, amount in bought.items() if day > first]
        history = History(
            *(
                np.array([float(figure)])
                for figure in (len(repeats), (last - first).days, (AS_OF.date() - first).days)
            )
        )
        worth = model.expected(history, 365.0) * money.expected(
            history.repeats, np.array([np.mean(repeats) if repeats else 0.0])
        )
        row = rows[customer]
        assert row["churn_risk"] == pytest.approx(1 - float(model.p_alive(history)[0]), abs=1e-9)
        # The mean of the purchases is rounded to cents before it goes into the model.
        assert float(row["ltv_predicted_12m"]) == pytest.approx(float(worth[0]), rel=1e-3, abs=0.02)
        assert row["risk_band"] == (
            "low" if row["churn_risk"] < 0.3 else "medium" if row["churn_risk"] < 0.7 else "high"
        )
    for customer in rows.keys() - days.keys():
        assert rows[customer]["churn_risk"] is rows[customer]["ltv_predicted_12m"] is None


@pytest.mark.usefixtures("connection")
def test_a_fit_is_used_for_a_day_and_made_anew_after_it(built: Built) -> None:
    url = built.settings.postgres_url.get_secret_value()
    count = len(fits(built, PURCHASING))
    assert score_customers(url, AS_OF + timedelta(hours=23)) == []
    assert len(fits(built, PURCHASING)) == count
    assert score_customers(url, AS_OF + timedelta(hours=25)) == []
    assert [fit["as_of"] for fit in fits(built, PURCHASING)[count:]] == [AS_OF + timedelta(hours=25)]
    # As of before that, the older one still counts: a past state can be computed again.
    assert score_customers(url, AS_OF + timedelta(hours=1)) == []
    assert len(fits(built, PURCHASING)) == count + 1


@pytest.mark.usefixtures("connection")
def test_a_fit_is_good_though_too_few_had_bought_again_before_what_is_held_back(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_few(*_: object) -> None:
        raise NotFittedError("too few")

    monkeypatch.setattr(scores, "hold_out", too_few)
    later = AS_OF + timedelta(days=2)
    assert score_customers(built.settings.postgres_url.get_secret_value(), later) == []
    last = fits(built, PURCHASING)[-1]
    assert (last["as_of"], last["converged"], last["holdout"]) == (later, True, None)


def test_a_fit_that_fails_is_said_and_the_last_good_one_goes_on(
    built: Built, connection: psycopg.Connection
) -> None:
    url, later = built.settings.postgres_url.get_secret_value(), AS_OF + timedelta(days=3)
    connection.execute("CREATE TABLE core.kept AS SELECT * FROM core.int_customer_totals")
    try:
        connection.execute("DELETE FROM core.int_customer_totals WHERE repeat_order_days > 0")
        for _ in range(2):
            said = score_customers(url, later)
            assert [message.partition(" ")[0] for message in said] == [PURCHASING, SPENDING]
            assert "0 customers have bought again" in said[0]
        scored = connection.execute(
            "SELECT count(*), count(ltv_12m) FROM staging.customer_lifetimes"
        ).fetchone()
        assert scored is not None
        assert scored[0] == scored[1] > 0
        failed = [fit for fit in fits(built, PURCHASING) if not fit["converged"]]
        assert [(fit["as_of"], fit["parameters"]) for fit in failed] == [(later, None)]
        # Before the first good fit there is none to go on with.
        score_customers(url, AS_OF - timedelta(days=2))
        assert connection.execute("SELECT count(*) FROM staging.customer_lifetimes").fetchone() == (0,)
    finally:
        connection.execute("TRUNCATE core.int_customer_totals")
        connection.execute("INSERT INTO core.int_customer_totals SELECT * FROM core.kept")
        connection.execute("DROP TABLE core.kept")
