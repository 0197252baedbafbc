"""The step of a gold run that says what customers will be worth: fit when due, score each customer.

dbt-postgres has no models in Python. So dbt builds the star first; this reads from it what customers have
bought and writes `staging.customer_lifetimes`; then dbt builds gold, which joins that.
"""

import json
import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg

from pipeline.gold.lifetime import purchases, spending
from pipeline.gold.lifetime.holdout import OrderDays, hold_out
from pipeline.gold.lifetime.purchases import YEAR_DAYS, Floats, History, NotFittedError, Purchasing
from pipeline.gold.lifetime.spending import Spending

Connection = psycopg.Connection[tuple[Any, ...]]

PURCHASING: Final = "mbg_nbd"
SPENDING: Final = "gamma_gamma"
REFIT_AFTER: Final = timedelta(hours=24)
"""A fit is used so long: parameters are those of all customers, and move slowly."""
ROWS_AT_A_TIME: Final = 20_000

Fit = Callable[[], tuple[Purchasing | Spending, float, dict[str, Any] | None]]
"""Gives a model, the logarithm of its likelihood, and how it foresaw what was held back."""


class Customers(NamedTuple):
    """Customers with an order: their ids and histories, and the mean of what a repeat order day brought."""

    ids: list[str]
    history: History
    mean: Floats


def score_customers(url: str, as_of: datetime) -> list[str]:
    """Fit the models if the last fits are older than `REFIT_AFTER`, and score all customers; blocks.

    A fit that fails is noted in `ops_ltv_fits`, and the last good one before `as_of` goes on being used;
    without any there are no scores.

    Args:
        url: libpq URL of a database in which dbt has built schema core.
        as_of: of that build.

    Returns:
        what is to be said to an operator: fits that failed.
    """
    # Figures beyond the largest number are dealt with where they come out: in a fit, in scores.
    with psycopg.connect(url) as connection, np.errstate(all="ignore"):
        customers = _customers(connection, as_of)
        failed = _refit(connection, customers, as_of)
        _write(
            connection, customers, _last(connection, PURCHASING, as_of), _last(connection, SPENDING, as_of)
        )
    return failed


def _customers(connection: Connection, as_of: datetime) -> Customers:
    ids: list[str] = []
    figures = [np.empty((0, 4))]
    with connection.cursor("customers") as cursor:
        cursor.execute(
            """
            SELECT customer_id, repeat_order_days, order_span_days,
                (%s AT TIME ZONE 'UTC')::date - first_order_on,
                coalesce(repeat_order_value, 0)::double precision
            FROM core.int_customer_totals WHERE orders > 0 ORDER BY customer_id
            """,
            (as_of,),
        )
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            ids += [row[0] for row in rows]
            figures.append(np.array([row[1:] for row in rows], float))
    repeats, last, age, mean = np.concatenate(figures).T
    return Customers(ids, History(repeats, last, age), mean)


def _is_due(connection: Connection, model: str, as_of: datetime) -> bool:
    found = connection.execute(
        """
        SELECT 1 FROM ops.ops_ltv_fits
        WHERE model = %s AND converged AND as_of > %s AND as_of <= %s LIMIT 1
        """,
        (model, as_of - REFIT_AFTER, as_of),
    ).fetchone()
    return found is None


def _refit(connection: Connection, customers: Customers, as_of: datetime) -> list[str]:
    history, mean = customers.history, customers.mean
    known = (history.repeats > 0) & (mean > 0)

    def fit_purchasing() -> tuple[Purchasing, float, dict[str, Any] | None]:
        fitted = purchases.fit(history)
        likelihood = float(fitted.log_likelihood(history).sum())
        try:
            held_back = hold_out(*_order_days(connection, as_of))
        except NotFittedError:  # too few had bought again by then; that is no fault of today's fit
            held_back = None
        return fitted, likelihood, held_back._asdict() if held_back else None

    def fit_spending() -> tuple[Spending, float, dict[str, Any] | None]:
        fitted = spending.fit(history.repeats, mean)
        return fitted, float(fitted.log_likelihood(history.repeats[known], mean[known]).sum()), None

    fits: dict[str, tuple[int, Fit]] = {
        PURCHASING: (len(customers.ids), fit_purchasing),
        SPENDING: (int(known.sum()), fit_spending),
    }
    said = [
        _fit_and_note(connection, as_of, model, count, fit)
        for model, (count, fit) in fits.items()
        if _is_due(connection, model, as_of)
    ]
    return [message for message in said if message]


def _fit_and_note(
    connection: Connection,
    as_of: datetime,
    model: str,
    customers: int,
    fit: Fit,
) -> str:
    """Fit a model and note it; give what went wrong, empty if nothing did.

    Of failures that follow each other only the last is kept: they are tried again with each run.
    """
    parameters, likelihood, holdout, message = None, None, None, ""
    try:
        fitted, likelihood, holdout = fit()
        parameters = fitted._asdict()
    except NotFittedError as error:
        message = str(error)
    connection.execute(
        """
        DELETE FROM ops.ops_ltv_fits AS failed
        WHERE model = %(model)s AND NOT converged AND NOT EXISTS (
            SELECT FROM ops.ops_ltv_fits AS later
            WHERE later.model = failed.model AND later.converged AND later.id > failed.id
        )
        """,
        {"model": model},
    )
    connection.execute(
        """
        INSERT INTO ops.ops_ltv_fits
            (as_of, model, customers, converged, log_likelihood, parameters, holdout, message)
        VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s)
        """,
        (
            as_of,
            model,
            customers,
            not message,
            likelihood,
            _json(parameters),
            _json(holdout),
            message or None,
        ),
    )
    return f"{model} not fitted: {message}" if message else ""


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _order_days(connection: Connection, as_of: datetime) -> tuple[OrderDays, int]:
    pieces = [np.empty((0, 2), np.int64)]
    with connection.cursor("order_days") as cursor:
        cursor.execute(
            """
            SELECT dense_rank() OVER (ORDER BY customer_id), booked_on - DATE '1970-01-01'
            FROM core.fct_bookings WHERE kind = 'purchase' GROUP BY customer_id, booked_on
            """
        )
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            pieces.append(np.array(rows, np.int64))
    customer, day = np.concatenate(pieces).T
    today = connection.execute("SELECT (%s AT TIME ZONE 'UTC')::date", (as_of,)).fetchone()
    assert today is not None  # noqa: S101  (a query without FROM gives one row)
    return OrderDays(customer, day), (today[0] - date(1970, 1, 1)).days


def _last(connection: Connection, model: str, as_of: datetime) -> dict[str, float] | None:
    row = connection.execute(
        """
        SELECT parameters FROM ops.ops_ltv_fits
        WHERE model = %s AND converged AND as_of <= %s ORDER BY as_of DESC, id DESC LIMIT 1
        """,
        (model, as_of),
    ).fetchone()
    return None if row is None else row[0]


def _write(
    connection: Connection,
    customers: Customers,
    purchasing: dict[str, float] | None,
    spent: dict[str, float] | None,
) -> None:
    connection.execute("TRUNCATE staging.customer_lifetimes")
    if purchasing is None:
        return
    model = Purchasing(**purchasing)
    alive = model.p_alive(customers.history)
    days = model.expected(customers.history, YEAR_DAYS)
    worth = np.full(len(days), np.nan)
    if spent is not None:
        worth = days * Spending(**spent).expected(customers.history.repeats, customers.mean)
    figures = np.stack([alive, days, worth], axis=1)
    with connection.cursor().copy("COPY staging.customer_lifetimes FROM STDIN") as copy:
        for customer, row in zip(customers.ids, figures.tolist(), strict=True):
            copy.write_row([customer, *(figure if math.isfinite(figure) else None for figure in row)])
    connection.execute("ANALYZE staging.customer_lifetimes")
