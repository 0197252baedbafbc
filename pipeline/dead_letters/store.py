"""Dead letters in the database: reading them, and noting what was done with them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from pipeline.dead_letters.letters import Identity, Letter, canonical_id
from pipeline.dead_letters.selection import (
    KEY,
    UNNEST_IDENTITIES,
    Query,
    Selection,
    count_query,
    groups_query,
    identities_query,
    identity_arrays,
    letters_query,
)
from pipeline.dead_letters.show import Shown
from pipeline.errors import UserError
from pipeline.locks import CORRECTIONS
from pipeline.postgres import not_answering
from sinks.conservation import FACTS_OF_STREAM
from sinks.schema import BRONZE
from streams.events import STREAMS

Connection = psycopg.Connection[Any]

_IS_KEY: Final = " AND ".join(f"letter.{name} = wanted.{name}" for name in KEY)
_WANTED: Final = f"{UNNEST_IDENTITIES} AS wanted ({', '.join(KEY)})"


@dataclass(frozen=True)
class Group:
    """Letters counted together, with the one that failed last as the example."""

    name: str
    letters: int
    pending: int
    exhausted: int
    first_arrived_at: datetime
    last_arrived_at: datetime
    example: Identity
    error: str


class Stored(NamedTuple):
    """What a stored fact is told apart by."""

    content_hash: int
    identity: Identity


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """Connect for a command, each statement a transaction of its own.

    Raises:
        UserError: the database does not answer, has no tables, or does not let this role see them.
    """
    try:
        with psycopg.connect(
            url, connect_timeout=10, autocommit=True, application_name="pipeline"
        ) as connection:
            connection.execute("SET TimeZone TO 'UTC'")
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise UserError(
            "the database has no tables yet, or old ones: run `pipeline migrate` or `pipeline up`"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise UserError(
            f"bronze and dead letters are for the operator's role, not for this one: {_one_line(error)}"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise not_answering(error) from error


@contextmanager
def one_at_a_time(connection: Connection) -> Iterator[None]:
    """Hold the lock of replays, discards and rebuilds, waiting for it; it goes with the connection."""
    connection.execute("SELECT pg_advisory_lock(%s)", (CORRECTIONS,))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (CORRECTIONS,))


def is_locked(connection: Connection) -> bool:
    """Tell whether another replay or discard, or a rebuild, is under way."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (CORRECTIONS,)).fetchone()
    if row == (True,):
        connection.execute("SELECT pg_advisory_unlock(%s)", (CORRECTIONS,))
    return row != (True,)


def count(connection: Connection, selection: Selection) -> int:
    """Count the selected letters."""
    row = _run(connection, count_query(selection)).fetchone()
    return int(row[0]) if row else 0


def identities(connection: Connection, selection: Selection) -> list[Identity]:
    """Give the selected letters' identities, the oldest arrival first."""
    return [Identity(*row) for row in _run(connection, identities_query(selection)).fetchall()]


def without_letter(connection: Connection, wanted: Sequence[Identity]) -> list[Identity]:
    """Give those identities that no letter has, in their order."""
    found = set(identities(connection, Selection(identities=tuple(wanted)))) if wanted else set()
    return [identity for identity in wanted if identity not in found]


def types_there_are(connection: Connection) -> list[str]:
    """Give all event types that letters came with, the commonest first."""
    rows = connection.execute(
        "SELECT event_type FROM silver.dead_letters WHERE event_type IS NOT NULL "
        "GROUP BY event_type ORDER BY count(*) DESC, event_type"
    ).fetchall()
    return [event_type for (event_type,) in rows]


def letters(connection: Connection, selection: Selection) -> list[Letter]:
    """Give the selected letters, the oldest arrival first."""
    with connection.cursor(row_factory=class_row(Letter)) as cursor:
        query = letters_query(selection)
        return cursor.execute(query.statement, query.parameters).fetchall()


def groups(connection: Connection, selection: Selection, by: str) -> list[Group]:
    """Count the selected letters by one of `selection.GROUPS`, the largest group first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        query = groups_query(selection, by)
        rows = cursor.execute(query.statement, query.parameters).fetchall()
    return [
        Group(
            name=row["in_group"],
            letters=row["letters"],
            pending=row["pending"],
            exhausted=row["exhausted"],
            first_arrived_at=row["first_arrived_at"],
            last_arrived_at=row["last_arrived_at"],
            example=Identity(*(row[name] for name in KEY)),
            error=next((f"{e['path']}: {e['message']}" for e in row["errors"]), ""),
        )
        for row in rows
    ]


def payloads_as_they_came(connection: Connection, wanted: Sequence[Letter]) -> dict[Identity, bytes]:
    """Give the records' bytes: from the letters, and from bronze where they have none."""
    found = {letter.identity: letter.payload for letter in wanted if letter.payload is not None}
    for letter in wanted:
        if letter.payload is None and letter.stream in STREAMS:
            row = connection.execute(
                sql.SQL(
                    """
                    SELECT coalesce(raw, convert_to(payload::text, 'UTF8')) FROM bronze.{}
                    WHERE (arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number)
                        = (%s, %s, %s, %s, %s)
                    """
                ).format(sql.Identifier(BRONZE[letter.stream].name)),  # type: ignore[index]  # a stream
                (letter.arrived_at, *letter.identity[1:]),
            ).fetchone()
            if row is not None and row[0] is not None:
                found[letter.identity] = row[0]
    return found


def surroundings(connection: Connection, letter: Letter) -> Shown:
    """Give a letter with what bronze and the fact tables have of it."""
    came = payloads_as_they_came(connection, [letter]).get(letter.identity)
    bronze, facts = None, []
    if letter.stream in STREAMS:
        bronze = connection.execute(
            sql.SQL(
                """
                SELECT loaded_at FROM bronze.{}
                WHERE (arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number)
                    = (%s, %s, %s, %s, %s)
                """
            ).format(sql.Identifier(BRONZE[letter.stream].name)),  # type: ignore[index]  # a stream
            (letter.arrived_at, *letter.identity[1:]),
        ).fetchone()
    event_id = canonical_id(letter.event_id)
    if event_id is not None:
        for table in FACTS_OF_STREAM.values():
            rows = connection.execute(
                f"SELECT loaded_at, {', '.join(KEY)} FROM silver.{table} WHERE event_id = %s".encode(),  # noqa: S608  (names of our own)
                (event_id,),
            ).fetchall()
            facts += [(table, Identity(*identity), loaded_at) for loaded_at, *identity in rows]
    return Shown(letter, came, bronze[0] if bronze else None, tuple(facts))


def stored_facts(connection: Connection, event_ids: Sequence[str]) -> dict[str, Stored]:
    """Give the facts that are stored under event ids (UUIDs), by id."""
    ids = [UUID(event_id) for event_id in event_ids]
    columns = ", ".join(KEY)
    query = " UNION ALL ".join(
        f"SELECT event_id::text, content_hash, {columns} FROM silver.{table} WHERE event_id = ANY(%(ids)s)"  # noqa: S608  (names of our own)
        for table in FACTS_OF_STREAM.values()
    )
    rows = connection.execute(query.encode(), {"ids": ids}).fetchall() if ids else []
    return {event_id: Stored(content, Identity(*identity)) for event_id, content, *identity in rows}


def keep_corrections(connection: Connection, kept: Sequence[tuple[Letter, bytes | None]]) -> None:
    """Store what is about to be sent in place of the payload (None: the payload itself is)."""
    _update(
        connection,
        "replayed_payload = extra.value, updated_at = now()",
        "letter.replayed_payload IS DISTINCT FROM extra.value",
        [(letter, correction) for letter, correction in kept],
        "bytea",
    )


def mark_replayed(connection: Connection, sent: Sequence[tuple[Letter, str | None]]) -> None:
    """Note letters as replayed, with the event id they went under; but not those that failed again since."""
    _update(
        connection,
        "status = 'replayed', event_id = coalesce(extra.value, letter.event_id), updated_at = now()",
        "letter.status <> 'replayed'",
        sent,
        "text",
    )


def discard(connection: Connection, chosen: Sequence[Identity]) -> int:
    """Note letters as discarded; gives how many were still open."""
    return connection.execute(
        f"""
        UPDATE silver.dead_letters AS letter SET status = 'discarded', updated_at = now()
        FROM {_WANTED}
        WHERE {_IS_KEY} AND letter.status IN ('pending', 'exhausted')
        """.encode(),  # noqa: S608  (names of our own)
        identity_arrays(list(chosen)),
    ).rowcount


def _update(
    connection: Connection, change: str, condition: str, rows: Sequence[tuple[Letter, Any]], kind: str
) -> None:
    # A letter that has failed again since it was read has a higher attempt, and stays as it is.
    parameters = identity_arrays([letter.identity for letter, _ in rows])
    parameters["attempt"] = [letter.attempt for letter, _ in rows]
    parameters["value"] = [value for _, value in rows]
    with connection.transaction():
        connection.execute(
            f"""
            UPDATE silver.dead_letters AS letter SET {change}
            FROM unnest(
                %(stream)s::text[], %(stream_epoch)s::bigint[], %(shard)s::text[],
                %(sequence_number)s::text[], %(sub_sequence_number)s::bigint[],
                %(attempt)s::integer[], %(value)s::{kind}[]
            ) AS extra ({", ".join(KEY)}, attempt, value)
            WHERE {" AND ".join(f"letter.{name} = extra.{name}" for name in KEY)}
                AND letter.attempt = extra.attempt AND {condition}
            """.encode(),  # noqa: S608  (texts of our own)
            parameters,
        )


def _run(connection: Connection, query: Query) -> psycopg.Cursor[Any]:
    return connection.execute(query.statement, query.parameters)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
