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
from typing import Final

from sinks.database import Connection, Database

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

_CANDIDATES: Final = f"""
    SELECT visit.visitor_id
    FROM unnest(%s::text[], %s::timestamptz[], %s::uuid[])
        AS visit (visitor_id, acquisition_at, acquisition_event_id)
    WHERE EXISTS (
        SELECT FROM (
            SELECT DISTINCT customer_id FROM silver_identities WHERE anonymous_id = visit.visitor_id
        ) AS link
        LEFT JOIN silver_customers AS stored USING (customer_id)
        WHERE {_EARLIER.format(one="visit")}
    )
"""  # noqa: S608  (names of our own)

_MERGE: Final = f"""
    WITH links AS (
        SELECT anonymous_id, customer_id, min(seen_at) AS first_seen_at, max(seen_at) AS last_seen_at
        FROM silver_identities WHERE anonymous_id = ANY(%s)
        GROUP BY anonymous_id, customer_id
    ),

    visits AS (
        SELECT links.*, visit.*
        FROM links
        CROSS JOIN LATERAL (
            SELECT occurred_at AS acquisition_at, event_id AS acquisition_event_id, channel, campaign
            FROM silver_product_events
            WHERE visitor_id = links.anonymous_id AND customer_id IS NULL AND channel IS NOT NULL
            ORDER BY occurred_at, event_id
            LIMIT 1
        ) AS visit
    ),

    earliest AS (
        SELECT DISTINCT ON (customer_id) * FROM visits
        ORDER BY customer_id, acquisition_at, acquisition_event_id
    ),

    merged AS (
        INSERT INTO silver_customers AS stored (
            customer_id, created_at, first_seen_at, last_seen_at,
            acquisition_at, acquisition_event_id, acquisition_channel, acquisition_campaign
        )
        SELECT customer_id, earliest.first_seen_at, earliest.first_seen_at, earliest.last_seen_at,
            earliest.acquisition_at, earliest.acquisition_event_id, earliest.channel, earliest.campaign
        FROM earliest
        LEFT JOIN silver_customers AS stored USING (customer_id)
        WHERE {_EARLIER.format(one="earliest")}
        ORDER BY customer_id
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


def merge_visits(database: Database, visits: Mapping[str, tuple[datetime, str]]) -> None:
    """Let committed anonymous visits count for the customers that their visitors are linked to.

    Harmless when done again.

    Args:
        database: where the facts are.
        visits: `(occurred_at, event_id)` of an event with a context, by visitor.

    Raises:
        DatabaseUnavailableError: the database stayed away; do it again.
    """
    if visits:
        visitors = database.transact(partial(_visitors_to_merge, visits=visits))
        merge_visitors(database, visitors)


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
        database.transact(partial(_merge, visitors=sorted(set(visitors))))


def _visitors_to_merge(connection: Connection, visits: Mapping[str, tuple[datetime, str]]) -> list[str]:
    _look_up_one_by_one(connection)
    instants, event_ids = zip(*visits.values(), strict=True)
    rows = connection.execute(
        _CANDIDATES.encode(), (list(visits), list(instants), list(event_ids))
    ).fetchall()
    return [str(visitor) for (visitor,) in rows]


def _merge(connection: Connection, visitors: list[str]) -> None:
    _look_up_one_by_one(connection)
    connection.execute(_MERGE.encode(), (visitors,))


def _look_up_one_by_one(connection: Connection) -> None:
    # The planner, without statistics, would rather read whole tables.
    connection.execute(b"SET LOCAL enable_hashjoin = off")
    connection.execute(b"SET LOCAL enable_mergejoin = off")
