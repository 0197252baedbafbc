"""A producer's ledger against silver: each event sent is a fact, each broken record a dead letter."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from producer.ledger import LedgerLine, read_ledger
from sinks.conservation import FACTS_OF_STREAM

EXAMPLES = 5


@dataclass(frozen=True)
class Reconciliation:
    """What the ledger expects and silver does not have, with up to five examples of each."""

    facts: int
    missing_facts: int
    missing_examples: tuple[str, ...]
    broken: int
    wrong_letters: int
    wrong_examples: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether silver has everything."""
        return not (self.missing_facts or self.wrong_letters)


def reconcile(url: str, ledger: Path) -> Reconciliation:
    """Compare a ledger with the tables.

    Raises:
        OSError: the ledger cannot be read.
        psycopg.Error: the database does not answer.
    """
    with psycopg.connect(url) as connection:
        facts, broken = _load(connection, read_ledger(ledger))
        missing = connection.execute(_missing_facts()).fetchall()
        wrong = connection.execute(_WRONG_LETTERS).fetchall()
    return Reconciliation(
        facts=facts,
        missing_facts=len(missing),
        missing_examples=tuple(f"{stream} {event_id}" for stream, event_id in missing[:EXAMPLES]),
        broken=broken,
        wrong_letters=len(wrong),
        wrong_examples=tuple(
            f"{stream}: {expected} was sent, {found or 'nothing'} is there"
            for stream, expected, found in wrong[:EXAMPLES]
        ),
    )


def _load(connection: psycopg.Connection[tuple[object, ...]], lines: Iterable[LedgerLine]) -> tuple[int, int]:
    connection.execute("CREATE TEMP TABLE sent_facts (stream text, event_id uuid)")
    connection.execute("CREATE TEMP TABLE sent_broken (stream text, reason text, payload bytea)")
    facts, broken = [], []
    for line in lines:
        if line.kind == "fact":
            facts.append((line.stream, UUID(line.event_id)))
        elif line.kind == "broken":
            broken.append((line.stream, str(line.reason), line.value))
    for name, columns, rows in (
        ("sent_facts", ("text", "uuid"), facts),
        ("sent_broken", ("text", "text", "bytea"), broken),
    ):
        statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(name))
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(columns)
            for row in rows:
                copy.write_row(row)
    return len(facts), len(broken)


def _missing_facts() -> sql.Composed:
    stored = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} AS stream, event_id FROM silver.{}").format(
            sql.Literal(stream), sql.Identifier(table)
        )
        for stream, table in FACTS_OF_STREAM.items()
    )
    return sql.SQL(
        "SELECT stream, event_id::text FROM sent_facts "
        "EXCEPT SELECT stream, event_id::text FROM ({}) AS stored"
    ).format(stored)


_WRONG_LETTERS = """
    WITH sent AS (
        SELECT stream, reason, md5(payload) AS digest, count(*) AS records
        FROM sent_broken
        GROUP BY stream, reason, digest
    ),

    stored AS (
        SELECT stream, reason, md5(payload) AS digest, count(*) AS records
        FROM silver.dead_letters
        GROUP BY stream, reason, digest
    )

    SELECT sent.stream, sent.reason, other.reason
    FROM sent
    LEFT JOIN stored
        ON stored.stream = sent.stream AND stored.reason = sent.reason AND stored.digest = sent.digest
    LEFT JOIN stored AS other
        ON other.stream = sent.stream AND other.digest = sent.digest AND other.reason <> sent.reason
    WHERE coalesce(stored.records, 0) < sent.records
"""
