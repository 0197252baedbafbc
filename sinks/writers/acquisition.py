"""What brought a customer: the earliest event with a context, its own or one of a visitor linked to it.

The customer's own events come with its profile. Those of its visitors meet here: a link may be stored before
or after the visitor's facts, by another worker at the same instant. So whoever stores either commits it
first, and only then looks for the other, in a transaction of its own: of two that run side by side, the one
that looks last sees what both have committed. No lock is needed, and since the lesser `(occurred_at,
event_id)` stays, doing it twice or in another order changes nothing.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from sinks.database import Connection, Database
from sinks.staging import look_up_one_by_one

_EARLIER: Final = """
    ({one}.acquisition_at, {one}.acquisition_event_id) < (stored.acquisition_at, stored.acquisition_event_id)
    OR stored.acquisition_event_id IS NULL
"""

MERGE_OWN: Final = f"""
    UPDATE silver_customers AS stored
    SET acquisition_at = staged.acquisition_at,
        acquisition_event_id = staged.acquisition_event_id,
        acquisition_channel = staged.acquisition_channel,
        acquisition_campaign = staged.acquisition_campaign,
        updated_at = now()
    FROM stage_silver_customers AS staged
    WHERE stored.customer_id = staged.customer_id
        AND staged.acquisition_event_id IS NOT NULL
        AND ({_EARLIER.format(one="staged")})
    RETURNING stored.customer_id
"""  # noqa: S608  (names of our own)
"""Merge what staged profiles say, of any revision; gives the customers that it changed."""

# The visits are those of linked visitors; what is earlier than what is stored is merged.
_MERGE: Final = f"""
    earliest AS (
        SELECT DISTINCT ON (customer_id) visits.*
        FROM visits
        LEFT JOIN silver_customers AS stored USING (customer_id)
        WHERE {_EARLIER.format(one="visits")}
        ORDER BY customer_id, visits.acquisition_at, visits.acquisition_event_id
    ),

    merged AS (
        INSERT INTO silver_customers AS stored (
            customer_id, created_at, first_seen_at, last_seen_at,
            acquisition_at, acquisition_event_id, acquisition_channel, acquisition_campaign
        )
        SELECT earliest.customer_id, link.first_seen_at, link.first_seen_at, link.last_seen_at,
            earliest.acquisition_at, earliest.acquisition_event_id, fact.channel, fact.campaign
        FROM earliest
        JOIN silver_product_events AS fact ON fact.event_id = earliest.acquisition_event_id
        CROSS JOIN LATERAL (
            SELECT min(seen_at) AS first_seen_at, max(seen_at) AS last_seen_at FROM silver_identities
            WHERE anonymous_id = earliest.anonymous_id AND customer_id = earliest.customer_id
        ) AS link
        ORDER BY earliest.customer_id
        ON CONFLICT (customer_id) DO UPDATE SET
            acquisition_at = excluded.acquisition_at,
            acquisition_event_id = excluded.acquisition_event_id,
            acquisition_channel = excluded.acquisition_channel,
            acquisition_campaign = excluded.acquisition_campaign,
            updated_at = now()
        WHERE {_EARLIER.format(one="excluded")}
        RETURNING customer_id
    )

    INSERT INTO ops_changes (kind, key) SELECT 'customer', customer_id FROM merged
"""  # noqa: S608  (names of our own)

# The customers of a visitor, one index entry each, however often a link was seen.
_CUSTOMERS_OF: Final = """
    CROSS JOIN LATERAL (
        WITH RECURSIVE next AS (
            (
                SELECT customer_id FROM silver_identities WHERE anonymous_id = visitor.anonymous_id
                ORDER BY customer_id LIMIT 1
            )
            UNION ALL
            SELECT (
                SELECT link.customer_id FROM silver_identities AS link
                WHERE link.anonymous_id = visitor.anonymous_id AND link.customer_id > next.customer_id
                ORDER BY link.customer_id LIMIT 1
            )
            FROM next WHERE next.customer_id IS NOT NULL
        )
        SELECT customer_id FROM next WHERE customer_id IS NOT NULL
    ) AS link
"""

_MERGE_VISITS: Final = f"""
    WITH visits AS (
        SELECT visitor.*, link.customer_id
        FROM unnest(%s::text[], %s::timestamptz[], %s::uuid[])
            AS visitor (anonymous_id, acquisition_at, acquisition_event_id)
        {_CUSTOMERS_OF}
    ), {_MERGE}
"""  # noqa: S608  (names of our own)

_MERGE_VISITORS: Final = f"""
    WITH visits AS (
        SELECT visitor.anonymous_id, visit.*, link.customer_id
        FROM unnest(%s::text[]) AS visitor (anonymous_id)
        CROSS JOIN LATERAL (
            SELECT occurred_at AS acquisition_at, event_id AS acquisition_event_id
            FROM silver_product_events
            WHERE visitor_id = visitor.anonymous_id AND customer_id IS NULL AND channel IS NOT NULL
            ORDER BY occurred_at, event_id
            LIMIT 1
        ) AS visit
        {_CUSTOMERS_OF}
    ), {_MERGE}
"""  # noqa: S608  (names of our own)


def merge_visits(database: Database, visits: Mapping[str, tuple[datetime, str]]) -> None:
    """Let committed anonymous visits count for the customers that their visitors are linked to.

    Harmless when done again.

    Args:
        database: where the facts are.
        visits: by visitor, `(occurred_at, event_id)` of a stored fact with a context and without a customer.
            The earliest of a batch will do: those of others are merged with theirs, or by `merge_visitors`.

    Raises:
        DatabaseUnavailableError: the database stayed away; do it again.
    """
    if visits:
        instants, event_ids = zip(*visits.values(), strict=True)
        parameters = (list(visits), list(instants), list(event_ids))
        database.transact(partial(_merge, statement=_MERGE_VISITS, parameters=parameters))


def merge_visitors(database: Database, visitors: Collection[str]) -> None:
    """Let the earliest visit of some visitors count for the customers they are linked to, as is committed.

    Harmless when done again.

    Args:
        database: where facts and links are.
        visitors: anonymous ids.

    Raises:
        DatabaseUnavailableError: the database stayed away; do it again.
    """
    if visitors:
        parameters = (sorted(set(visitors)),)
        database.transact(partial(_merge, statement=_MERGE_VISITORS, parameters=parameters))


def _merge(connection: Connection, statement: str, parameters: tuple[list[Any], ...]) -> None:
    look_up_one_by_one(connection)
    # Planned anew: a plan that was made while a table was small is quadratic when it has grown.
    connection.execute(statement.encode(), parameters, prepare=False)
