"""Looking an event up in every layer."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg.rows import class_row

from pipeline.dead_letters.letters import Identity, canonical_id
from pipeline.dead_letters.selection import KEY, Selection, identity_arrays
from pipeline.dead_letters.store import letters as read_letters
from pipeline.trace.findings import Arrival, Fact, Gold, Hop, Late, Link, Order, Session, Trace
from sinks.conservation import FACTS_OF_STREAM
from sinks.schema import BRONZE
from streams.events import STREAMS, Stream

Connection = psycopg.Connection[Any]
Row = TypeVar("Row")

_TRANSPORT: Final = ", ".join(KEY[1:])
_CATALOGUE: Final = ("product_listed", "product_delisted")

# What the fact tables have, under one name each.
_FACT_COLUMNS: Final[dict[Stream, str]] = {
    "customer-events": "event_type, visitor_id, customer_id, anonymous_id, NULL AS order_id",
    "transaction-events": (
        "transaction_type AS event_type, visitor_id, customer_id, NULL AS anonymous_id, order_id"
    ),
    "product-events": "event_type, visitor_id, customer_id, anonymous_id, NULL AS order_id",
    "system-logs": (
        "'log' AS event_type, NULL AS visitor_id, NULL AS customer_id, NULL AS anonymous_id, NULL AS order_id"
    ),
}


class Place(NamedTuple):
    """A record's identity and the instant of its arrival: the key of bronze."""

    identity: Identity
    arrived_at: datetime


def trace(connection: Connection, asked: str, *, session_retention_days: int, now: datetime) -> Trace:
    """Find everything that is known of an event.

    Args:
        connection: to the database.
        asked: an event id, of a broken event any text; or STREAM/EPOCH/SHARD/SEQUENCE/SUB.
        session_retention_days: the setting; 0: sessions are kept for ever.
        now: the wall clock.

    Raises:
        psycopg.Error: the database does not answer.
    """
    found = Trace(asked, now, session_retention_days)
    try:
        identity = Identity.parse(asked)
    except ValueError:
        _add_by_ids(connection, found, {asked})
    else:
        _add_letters(connection, found, Selection(identities=(identity,)))
        _add_arrivals(found, _arrivals_of_identity(connection, identity))
        ids = {arrival.event_id for arrival in found.arrivals}
        ids |= {letter.event_id for letter in found.letters}
        _add_by_ids(connection, found, {event_id for event_id in ids if event_id})
    _add_records(connection, found)
    _add_corrected(connection, found)
    found.arrivals.sort(key=lambda arrival: (arrival.arrived_at, arrival.identity))
    meant = (asked, canonical_id(asked))
    found.facts.sort(key=lambda fact: str(fact.identity) not in meant and fact.event_id not in meant)
    _add_what_follows(connection, found)
    return found


def _add_by_ids(connection: Connection, found: Trace, ids: set[str]) -> None:
    """Add what carries one of the ids."""
    for event_id in sorted(ids):
        _add_letters(connection, found, Selection(event_id=event_id))
        canonical = canonical_id(event_id)
        if canonical is None:
            continue
        if canonical != event_id:
            _add_letters(connection, found, Selection(event_id=canonical))
        for stream in STREAMS:
            _add_arrivals(
                found, _arrivals(connection, stream, "event_id = %(event_id)s", {"event_id": canonical})
            )
        _add_facts(found, _facts(connection, canonical))


def _add_records(connection: Connection, found: Trace) -> None:
    """Add the bronze rows and letters of records that are known otherwise."""
    places = {Place(fact.identity, fact.arrived_at) for fact in found.facts}
    places |= {Place(letter.identity, letter.arrived_at) for letter in found.letters}
    _add_arrivals(found, _arrivals_at(connection, sorted(places)))
    identities = {*(place.identity for place in places), *(arrival.identity for arrival in found.arrivals)}
    if identities:
        _add_letters(connection, found, Selection(identities=tuple(sorted(identities))))


def _add_corrected(connection: Connection, found: Trace) -> None:
    """Add the facts that records of the event became under another id, by a correction."""
    for letter in found.letters:
        event_id = canonical_id(letter.event_id)
        if event_id is not None:
            _add_facts(found, [f for f in _facts(connection, event_id) if f.identity == letter.identity])


def _add_arrivals(found: Trace, arrivals: Iterable[Arrival]) -> None:
    found.arrivals += [arrival for arrival in arrivals if arrival not in found.arrivals]


def _add_facts(found: Trace, facts: Iterable[Fact]) -> None:
    found.facts += [fact for fact in facts if fact not in found.facts]


def _add_letters(connection: Connection, found: Trace, selection: Selection) -> None:
    known = {letter.identity for letter in found.letters}
    found.letters += [new for new in read_letters(connection, selection) if new.identity not in known]


def _arrivals(
    connection: Connection, stream: Stream, where: str, parameters: dict[str, Any]
) -> list[Arrival]:
    table = BRONZE[stream].name
    rows = connection.execute(
        f"""
        SELECT {_TRANSPORT}, partition_key, event_id::text, event_type, occurred_at, arrived_at, loaded_at
        FROM bronze.{table} WHERE {where}
        """.encode(),  # noqa: S608  (texts of our own)
        parameters,
    ).fetchall()
    return [Arrival(f"bronze.{table}", Identity(stream, *row[:4]), *row[4:]) for row in rows]


def _arrivals_of_identity(connection: Connection, identity: Identity) -> list[Arrival]:
    if identity.stream not in STREAMS:
        return []
    where = " AND ".join(f"{name} = %({name})s" for name in KEY[1:])
    return _arrivals(connection, identity.stream, where, identity._asdict())  # type: ignore[arg-type]  # a stream


def _arrivals_at(connection: Connection, places: Sequence[Place]) -> list[Arrival]:
    found = []
    for stream in STREAMS:
        of_stream = [place for place in places if place.identity.stream == stream]
        if of_stream:
            parameters = identity_arrays([place.identity for place in of_stream])
            parameters["arrived_at"] = [place.arrived_at for place in of_stream]
            found += _arrivals(
                connection,
                stream,
                f"""
                (arrived_at, {_TRANSPORT}) IN (
                    SELECT * FROM unnest(
                        %(arrived_at)s::timestamptz[], %(stream_epoch)s::bigint[], %(shard)s::text[],
                        %(sequence_number)s::text[], %(sub_sequence_number)s::bigint[]
                    )
                )
                """,  # noqa: S608  (names of our own)
                parameters,
            )
    return found


def _facts(connection: Connection, event_id: str) -> list[Fact]:
    found = []
    for stream, table in FACTS_OF_STREAM.items():
        rows = connection.execute(
            f"""
            SELECT {", ".join(KEY)}, event_id::text, event_type, occurred_at, arrived_at, loaded_at, is_late,
                visitor_id, customer_id, anonymous_id, order_id
            FROM (
                SELECT {", ".join(KEY)}, event_id, occurred_at, arrived_at, loaded_at, is_late,
                    {_FACT_COLUMNS[stream]}
                FROM silver.{table} WHERE event_id = %s
            ) AS fact
            """.encode(),  # noqa: S608  (texts of our own)
            (event_id,),
        ).fetchall()
        found += [Fact(f"silver.{table}", Identity(*row[:5]), *row[5:]) for row in rows]
    return found


def _add_what_follows(connection: Connection, found: Trace) -> None:
    """Add what was made of the facts: sessions, the late ledger, links, gold, and samples of the hops."""
    for fact in found.facts:
        found.late += _rows(
            connection,
            Late,
            "SELECT event_id::text, lateness_seconds, outcome, loaded_at FROM silver.silver_late_events "
            "WHERE event_id = %s",
            fact.event_id,
        )
        found.hops += _rows(
            connection,
            Hop,
            "SELECT hop, at, age_seconds FROM ops.ops_hops "
            "WHERE event_id = %s AND at BETWEEN %s AND %s + interval '1 day' ORDER BY at",
            *(fact.event_id, fact.arrived_at, fact.loaded_at),
        )
        found.links += _rows(
            connection,
            Link,
            "SELECT anonymous_id, customer_id, seen_at FROM silver.silver_identities "
            "WHERE anonymous_id = %s OR customer_id = %s ORDER BY seen_at LIMIT 10",
            *(fact.anonymous_id, fact.customer_id),
        )
        if fact.visitor_id is not None and fact.event_type not in _CATALOGUE:
            found.session = found.session or _first(
                _rows(
                    connection,
                    Session,
                    "SELECT session_id, visitor_id, customer_id, started_at, ended_at, events, channel, "
                    "is_bot, updated_at FROM silver.silver_sessions "
                    "WHERE visitor_id = %s AND %s BETWEEN started_at AND ended_at",
                    *(fact.visitor_id, fact.occurred_at),
                )
            )
    found.gold = _gold(connection, next((fact.order_id for fact in found.facts if fact.order_id), None))


def _gold(connection: Connection, order_id: str | None) -> Gold:
    built = connection.execute(
        "SELECT started_at, status = 'success' FROM ops.ops_dbt_runs WHERE status IN ('success', 'failed') "
        "AND to_regclass('core.fct_orders') IS NOT NULL ORDER BY started_at DESC LIMIT 1"
    ).fetchone()
    if built is None:
        return Gold()
    orders = _rows(
        connection,
        Order,
        "SELECT order_id, event_id::text AS event_id, ordered_at, order_number, revenue, purchases_seen "
        "FROM core.fct_orders WHERE order_id = %s",
        order_id,
    )
    return Gold(built[0], is_published=built[1], order=_first(orders))


def _rows(connection: Connection, kind: Callable[..., Row], statement: str, *parameters: Any) -> list[Row]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:  # type: ignore[arg-type]  # a class
        return cursor.execute(statement.encode(), parameters).fetchall()


def _first(rows: Sequence[Row]) -> Row | None:
    return rows[0] if rows else None
