"""Conservation over the whole path, gold included."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import class_row

from pipeline.errors import UserError
from pipeline.postgres import not_answering
from pipeline.refused import Refused, find_refused
from sinks.conservation import Agreement, StreamDay, agreements, events_left_alone, stream_days

# Of what the run that gold is of had copied. A repeated order id counts once in gold.
_GOLD_AGREEMENTS = """
    WITH seen AS (
        SELECT * FROM staging.stg_transactions
    ),

    repeats AS (
        SELECT coalesce(sum(amount_base), 0) AS revenue, count(*) AS purchases
        FROM (
            SELECT
                amount_base,
                row_number() OVER (PARTITION BY order_id ORDER BY occurred_at, event_id) AS number
            FROM seen
            WHERE transaction_type = 'purchase'
        ) AS purchases
        WHERE number > 1
    ),

    facts AS (
        SELECT
            count(*) FILTER (WHERE transaction_type = 'purchase') AS purchases,
            coalesce(sum(amount_base) FILTER (WHERE transaction_type = 'purchase'), 0)
            - coalesce(sum(amount_base) FILTER (WHERE transaction_type = 'refund'), 0) AS revenue
        FROM seen
    ),

    business AS (
        SELECT coalesce(sum(orders), 0) AS purchases, coalesce(sum(revenue), 0) AS revenue
        FROM gold.gold_business_metrics
        WHERE grain = 'day'
    ),

    customers AS (
        SELECT coalesce(sum(orders), 0) AS purchases, coalesce(sum(revenue), 0) AS revenue
        FROM gold.gold_customer_analytics
    ),

    attributed AS (
        SELECT coalesce(sum(revenue), 0) AS revenue FROM gold.gold_revenue_attribution WHERE model = 'linear'
    )

    SELECT
        pairs.what,
        'facts' AS one,
        pairs.of_one,
        pairs.other,
        pairs.of_other
    FROM facts, repeats, business, customers, attributed, LATERAL (
        VALUES
        ('orders', facts.purchases - repeats.purchases, 'gold_business_metrics', business.purchases),
        ('orders', facts.purchases - repeats.purchases, 'gold_customer_analytics', customers.purchases),
        ('revenue', facts.revenue - repeats.revenue, 'gold_business_metrics', business.revenue),
        ('revenue', facts.revenue - repeats.revenue, 'gold_customer_analytics', customers.revenue),
        ('revenue', facts.revenue - repeats.revenue, 'gold_revenue_attribution', attributed.revenue)
    ) AS pairs (what, of_one, other, of_other)
"""


class GoldCopy(NamedTuple):
    """The copy of silver that gold is made from: when it was made, and what stood for "now" in it."""

    copied_at: datetime
    as_of: datetime


@dataclass(frozen=True)
class Report:
    """What was found. `gold_is_built` is false when no run of gold has succeeded: it is not compared then.

    `gold_copy` is what gold is compared with: null also if a crash of the server has emptied it, which the
    next run of gold makes good, or if `gold_is_older`: a later build has copied silver again, and was not
    published (yet).
    `refused` is looked for only when figures differ. `left_alone` are events that came when they were older
    than the retention of sessions.
    """

    days: list[StreamDay]
    agreements: list[Agreement]
    gold_is_built: bool
    gold_copy: GoldCopy | None = None
    gold_is_older: bool = False
    refused: Refused | None = None
    left_alone: int = 0

    @property
    def is_conserved(self) -> bool:
        """Whether nothing was lost, doubled or invented, and all figures agree."""
        return all(day.is_conserved for day in self.days) and all(pair.holds for pair in self.agreements)


def check_conservation(url: str) -> Report:
    """Compare what arrived with what is in every layer; exact when nothing is under way.

    Raises:
        UserError: the database does not answer or has no tables.
    """
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            # One snapshot for all questions.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            built = _gold_is_built(connection)
            copy = _copy(connection) if built else None
            older = copy is not None and copy.copied_at != _published(connection)
            copy = None if older else copy
            pairs = agreements(connection) + (_gold_agreements(connection) if copy else [])
            refused = None if all(pair.holds for pair in pairs) else find_refused(connection)
            left_alone = events_left_alone(connection)
            return Report(stream_days(connection), pairs, built, copy, older, refused, left_alone)
    except psycopg.errors.UndefinedTable as error:
        raise UserError("the database has no tables yet: run `pipeline migrate` or `pipeline up`") from error
    except psycopg.Error as error:
        raise not_answering(error) from error


def _gold_is_built(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "SELECT num_nulls(to_regclass('gold.gold_business_metrics'), to_regclass('staging.snapshot_run')) = 0"
    ).fetchone()
    return bool(row and row[0])


def _copy(connection: psycopg.Connection[Any]) -> GoldCopy | None:
    # Unlogged, as the copies themselves: Postgres empties them all when it recovers from a crash.
    row = connection.execute("SELECT copied_at, as_of FROM staging.snapshot_run").fetchone()
    return GoldCopy(*row) if row else None


def _published(connection: psycopg.Connection[Any]) -> datetime | None:
    """Give when silver was copied for the run that gold is of."""
    row = connection.execute(
        """
        SELECT copied_at FROM ops.ops_dbt_runs
        WHERE published_at IS NOT NULL ORDER BY published_at DESC LIMIT 1
        """
    ).fetchone()
    return row[0] if row else None


def _gold_agreements(connection: psycopg.Connection[Any]) -> list[Agreement]:
    with connection.cursor(row_factory=class_row(Agreement)) as cursor:
        return cursor.execute(_GOLD_AGREEMENTS).fetchall()
