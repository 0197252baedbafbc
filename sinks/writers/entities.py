"""Records of `silver.*` topics into the entity tables: the highest revision of each key stays."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from sinks.database import Connection, Database, write_bisecting
from sinks.mapping import entities as mapping
from sinks.mapping.entities import Entities, Entity, Row
from sinks.records import foreign_letter
from sinks.staging import Staging, copy_rows, look_up_one_by_one
from sinks.writers.acquisition import MERGE_OWN, merge_visitors
from streams.dead_letters import DeadLetter
from streams.engine.batch import Placed
from streams.topics import (
    SILVER_CUSTOMERS,
    SILVER_IDENTITIES,
    SILVER_LATE_EVENTS,
    SILVER_PRODUCTS,
    SILVER_SESSIONS,
)

Writer = Callable[[Connection, Sequence[Entity]], None]


def write_entities(topic: str, database: Database, records: Sequence[Placed]) -> list[DeadLetter]:
    """Store records of a `silver.*` topic; harmless when done again, in any order.

    Returns:
        dead letters of records that are none of ours or that the database refuses; their identity is
        their place in Kafka (see `sinks.records.foreign_letter`).

    Raises:
        DatabaseUnavailableError: the database stayed away; what was written is kept.
    """
    read, write = _TOPICS[topic]
    found = read(records)
    _, refused = write_bisecting(database, found.entities, write)
    if topic == SILVER_IDENTITIES:
        merge_visitors(database, {anonymous_id for anonymous_id, *_ in (e.key for e in found.entities)})
    wrong = found.foreign + [(entity.placed, message) for entity, message in refused]
    now = datetime.now(UTC)
    return [foreign_letter(topic, placed, message, now) for placed, message in wrong]


def _rows(entities: Iterable[Entity]) -> Iterable[Row]:
    return (row for entity in entities for row in entity.rows)


def _upsert_by_revision(table: str, key: str, staging: Staging, *, but: str = "") -> bytes:
    """Give the statement that stores staged rows of a higher revision, and says so in the change log.

    Args:
        table: of silver.
        key: the primary key's column.
        staging: where the rows are.
        but: columns that begin so are left as they are stored.
    """
    changed = ", ".join(
        f"{name} = excluded.{name}"
        for name in staging.types
        if name != key and not (but and name.startswith(but))
    )
    return f"""
        WITH stored AS (
            INSERT INTO {table} AS stored ({staging.columns})
            SELECT {staging.columns} FROM {staging.name} ORDER BY {key}
            ON CONFLICT ({key}) DO UPDATE SET {changed}, updated_at = now()
            WHERE stored.revision_epoch IS NULL
                OR (stored.revision_epoch, stored.revision_offset)
                    < (excluded.revision_epoch, excluded.revision_offset)
            RETURNING {key} AS key
        )
        INSERT INTO ops_changes (kind, key) SELECT '{key.removesuffix("_id")}', key FROM stored
    """.encode()  # noqa: S608  (names of our own)


_CUSTOMERS: Final = _upsert_by_revision(
    "silver_customers", "customer_id", mapping.CUSTOMERS, but="acquisition_"
)
_ACQUISITIONS: Final = f"""
    WITH merged AS ({MERGE_OWN})
    INSERT INTO ops_changes (kind, key) SELECT 'customer', customer_id FROM merged
"""  # noqa: S608  (names of our own)
_PRODUCTS: Final = _upsert_by_revision("silver_products", "product_id", mapping.PRODUCTS)
_CLEAR_CUSTOMER: Final = b"""
    WITH cleared AS (
        UPDATE silver_customers
        SET email = NULL, name = NULL, email_hash = NULL, email_domain = NULL, is_deleted = true,
            revision_epoch = %(epoch)s, revision_offset = %(offset)s, updated_at = now()
        WHERE customer_id = %(customer_id)s AND (
            revision_epoch IS NULL OR (revision_epoch, revision_offset) < (%(epoch)s, %(offset)s)
        )
        RETURNING customer_id
    )
    INSERT INTO ops_changes (kind, key) SELECT 'customer', customer_id FROM cleared
"""


def _write_customers(connection: Connection, entities: Sequence[Entity]) -> None:
    copy_rows(connection, mapping.CUSTOMERS, _rows(entities))
    connection.execute(_CUSTOMERS)
    look_up_one_by_one(connection)
    connection.execute(_ACQUISITIONS.encode())
    # Totals and instants of a customer without a profile are still those of facts: the row stays.
    for (customer_id,), revision in ((entity.key, entity.revision) for entity in entities if not entity.rows):
        connection.execute(_CLEAR_CUSTOMER, {"customer_id": customer_id, **revision._asdict()})


def _write_products(connection: Connection, entities: Sequence[Entity]) -> None:
    copy_rows(connection, mapping.PRODUCTS, _rows(entities))
    connection.execute(_PRODUCTS)


def _write_session_days(connection: Connection, entities: Sequence[Entity]) -> None:
    """Replace the sessions of each visitor and day whose revision is not below what was applied."""
    days, sessions = mapping.SESSION_DAYS, mapping.SESSIONS
    copy_rows(connection, days, ((*entity.key, *entity.revision) for entity in entities))
    copy_rows(connection, sessions, _rows(entities))
    for statement in _SESSIONS:
        # Planned anew: a plan that was made for a small batch is quadratic for a large one.
        connection.execute(statement.encode(), prepare=False)


_SESSION_COLUMNS: Final = ", ".join(name for name in mapping.SESSIONS.types if name != "day")
_SESSIONS: Final = (
    # The row of the revision is also the lock that lets one writer at a time replace a visitor's day.
    """
    WITH applied AS (
        INSERT INTO ops_session_revisions AS applied (visitor_id, day, epoch, "offset")
        SELECT visitor_id, day, epoch, "offset" FROM stage_session_days ORDER BY visitor_id, day
        ON CONFLICT (visitor_id, day) DO UPDATE SET epoch = excluded.epoch, "offset" = excluded."offset"
        WHERE (applied.epoch, applied."offset") <= (excluded.epoch, excluded."offset")
        RETURNING visitor_id, day
    )
    DELETE FROM stage_session_days AS staged
    WHERE NOT EXISTS (
        SELECT FROM applied WHERE applied.visitor_id = staged.visitor_id AND applied.day = staged.day
    )
    """,
    """
    DELETE FROM silver_sessions AS stored USING stage_session_days AS staged
    WHERE stored.visitor_id = staged.visitor_id
        AND stored.started_at >= staged.day::timestamp AT TIME ZONE 'UTC'
        AND stored.started_at < (staged.day + 1)::timestamp AT TIME ZONE 'UTC'
        AND NOT EXISTS (
            SELECT FROM stage_silver_sessions AS next
            WHERE next.session_id = stored.session_id
                AND next.visitor_id = staged.visitor_id AND next.day = staged.day
        )
    """,
    f"""
    INSERT INTO silver_sessions ({_SESSION_COLUMNS})
    SELECT DISTINCT ON (session_id) {_SESSION_COLUMNS}
    FROM stage_silver_sessions JOIN stage_session_days USING (visitor_id, day)
    ORDER BY session_id, started_at
    ON CONFLICT (session_id) DO UPDATE SET {
        ", ".join(
            f"{name} = excluded.{name}" for name in _SESSION_COLUMNS.split(", ") if name != "session_id"
        )
    }, updated_at = now()
    """,  # noqa: S608  (names of our own)
    """
    INSERT INTO ops_changes (kind, key, day) SELECT 'session', visitor_id, day FROM stage_session_days
    """,
)


def _write_identities(connection: Connection, entities: Sequence[Entity]) -> None:
    copy_rows(connection, mapping.IDENTITIES, _rows(entities))
    connection.execute(
        b"""
        WITH linked AS (
            INSERT INTO silver_identities (anonymous_id, customer_id, seen_at)
            SELECT anonymous_id, customer_id, seen_at FROM stage_silver_identities
            ORDER BY anonymous_id, customer_id, seen_at
            ON CONFLICT DO NOTHING
            RETURNING anonymous_id, customer_id, (seen_at AT TIME ZONE 'UTC')::date AS day
        )
        INSERT INTO ops_changes (kind, key, day)
        SELECT 'identity', anonymous_id, day FROM linked
        UNION SELECT 'customer', customer_id, day FROM linked
        """
    )


def _write_late_events(connection: Connection, entities: Sequence[Entity]) -> None:
    columns = mapping.LATE_EVENTS.columns
    copy_rows(connection, mapping.LATE_EVENTS, _rows(entities))
    connection.execute(
        f"""
        WITH listed AS (
            INSERT INTO silver_late_events ({columns})
            SELECT {columns} FROM stage_silver_late_events ORDER BY event_id
            ON CONFLICT (event_id) DO NOTHING
            RETURNING outcome, (occurred_at AT TIME ZONE 'UTC')::date AS day
        )
        INSERT INTO ops_changes (kind, key, day)
        SELECT DISTINCT 'late_event', outcome, day FROM listed
        """.encode()  # noqa: S608  (names of our own)
    )


_TOPICS: Final[dict[str, tuple[Callable[[Sequence[Placed]], Entities], Writer]]] = {
    SILVER_CUSTOMERS: (mapping.customers_of, _write_customers),
    SILVER_PRODUCTS: (mapping.products_of, _write_products),
    SILVER_SESSIONS: (mapping.session_days_of, _write_session_days),
    SILVER_IDENTITIES: (mapping.identities_of, _write_identities),
    SILVER_LATE_EVENTS: (mapping.late_events_of, _write_late_events),
}
