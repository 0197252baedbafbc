"""Records that sessions had counted before the database refused them, and the command that takes them out."""

import shlex
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from pipeline.visitors import Visitor, who_of

MOST_VISITORS: Final = 20
"""As many are named; beyond that a whole rebuild is less work than saying them."""

# Sessions and profiles merge an event while the database decides whether it becomes a fact. A letter that was
# replayed under another id was merged before as it came.
_REFUSED_AFTER: Final = """
    SELECT coalesce(payload, ''::bytea) FROM silver.dead_letters
    WHERE stage = 'sink'
        AND reason IN ('conflicting_event_id', 'refused_by_sink')
"""

# As `sinks.conservation.agreements` compares all of them.
_DIFFERING: Final = """
    WITH events AS (
        SELECT visitor_id, event_id, occurred_at, NULL AS kind, 0::numeric AS amount
        FROM silver.silver_customer_events WHERE visitor_id = ANY(%(visitors)s)
        UNION ALL
        SELECT visitor_id, event_id, occurred_at, NULL, 0
        FROM silver.silver_product_events WHERE visitor_id = ANY(%(visitors)s)
        UNION ALL
        SELECT visitor_id, event_id, occurred_at, transaction_type, CASE transaction_type
            WHEN 'purchase' THEN amount_base WHEN 'refund' THEN -amount_base ELSE 0
        END
        FROM silver.silver_transactions WHERE visitor_id = ANY(%(visitors)s)
    ),

    facts AS (
        SELECT visitor_id, count(*) AS events, count(*) FILTER (WHERE kind = 'purchase') AS purchases,
            sum(amount) AS revenue
        FROM events
        WHERE NOT EXISTS (
            SELECT FROM silver.silver_late_events AS late
            WHERE late.event_id = events.event_id AND late.outcome = 'beyond_retention'
        ) OR EXISTS (
            SELECT FROM silver.silver_sessions AS session
            WHERE session.visitor_id = events.visitor_id
                AND events.occurred_at BETWEEN session.started_at AND session.ended_at
        )
        GROUP BY visitor_id
    ),

    sessions AS (
        SELECT visitor_id, sum(events) AS events, sum(purchases) AS purchases, sum(revenue_base) AS revenue
        FROM silver.silver_sessions WHERE visitor_id = ANY(%(visitors)s)
        GROUP BY visitor_id
    ),

    orders AS (
        SELECT visitor_id, count(*) FILTER (WHERE kind = 'purchase') AS orders, sum(amount) AS spent
        FROM events GROUP BY visitor_id
    )

    SELECT visitor_id FROM facts FULL JOIN sessions USING (visitor_id)
    WHERE (coalesce(facts.events, 0), coalesce(facts.purchases, 0), coalesce(facts.revenue, 0))
        <> (coalesce(sessions.events, 0), coalesce(sessions.purchases, 0), coalesce(sessions.revenue, 0))
    UNION
    SELECT customer_id FROM silver.silver_customers AS customer
    LEFT JOIN orders ON orders.visitor_id = customer.customer_id
    WHERE customer_id = ANY(%(visitors)s)
        AND (customer.orders, customer.total_spent) <> (coalesce(orders.orders, 0), coalesce(orders.spent, 0))
"""


@dataclass(frozen=True)
class Refused:
    """Records that the database refused, of visitors whose sessions or totals differ from their facts now."""

    records: int
    visitors: tuple[Visitor, ...]

    @property
    def remedy(self) -> str:
        """The command that takes them out again."""
        if len(self.visitors) > MOST_VISITORS:
            return "pipeline rebuild"
        named = (
            f"--{'customer' if each.is_customer else 'visitor'}={each.visitor_id}" for each in self.visitors
        )
        return shlex.join(["pipeline", "rebuild", *named])


def find_refused(connection: psycopg.Connection[Any]) -> Refused | None:
    """Look for refused records of visitors of whom figures differ; None if there are none.

    What a rebuild has put right is none.

    Raises:
        psycopg.Error: the database does not answer.
    """
    payloads = [payload for (payload,) in connection.execute(_REFUSED_AFTER).fetchall()]
    whose = [visitor for payload in payloads if (visitor := who_of(payload)) is not None]
    ids = sorted({visitor.visitor_id for visitor in whose})
    differing = {row[0] for row in connection.execute(_DIFFERING, {"visitors": ids}).fetchall()}
    found = [visitor for visitor in whose if visitor.visitor_id in differing]
    return Refused(len(found), tuple(sorted(set(found)))) if found else None
