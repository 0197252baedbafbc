"""Clean events into the fact tables, with everything that only a fact's first insertion may move."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sinks.database import Connection, Database, write_bisecting
from sinks.mapping.facts import STAGING, Fact, anonymous_visits, facts_of
from sinks.records import Failure, dead_letter, foreign_letter
from sinks.staging import copy_rows, look_up_one_by_one
from sinks.writers.acquisition import merge_visits
from sinks.writers.dead_letters import settle_replays
from sinks.writers.facts_sql import CONFLICTS, INSERTS
from sinks.writers.payloads import BRONZE_WAIT_SECONDS, payloads_of
from streams.dead_letters import DeadLetter, Reason
from streams.engine.batch import Placed

CONFLICT: Final = Failure(
    Reason.CONFLICTING_EVENT_ID,
    "another event with this event_id and different content is stored; the first stays",
    "$.event_id",
)


def write_facts(
    topic: str,
    database: Database,
    records: Sequence[Placed],
    *,
    bronze_wait_seconds: float = BRONZE_WAIT_SECONDS,
) -> list[DeadLetter]:
    """Store records of a `clean.*` topic; harmless when done again.

    In the same transaction, and only for events that were not stored before: a customer's orders and total,
    the change log, the sampled hops. After it, anonymous visits count for the customers they are linked to.

    Args:
        topic: of the records, one of `clean.*`.
        database: where to.
        records: those of a partition in the order of offsets.
        bronze_wait_seconds: how long to wait for bronze to hold the payload of a record that is refused.

    Returns:
        dead letters: events whose id is known with other content, rows that the database refuses, and records
        that are none of ours.

    Raises:
        DatabaseUnavailableError: the database stayed away; what was written is kept.
        BronzeBehindError: bronze does not have a refused record yet; try the batch again.
    """
    facts, failed, foreign = facts_of(topic, records)
    conflicts, refused = write_bisecting(database, facts, _write)
    conflicting = {number for numbers in conflicts for number in numbers}
    failed += [(fact, CONFLICT) for fact in facts if fact.number in conflicting]
    failed += [(item, Failure(Reason.REFUSED_BY_SINK, message)) for item, message in refused]
    not_stored = {fact.number for fact, _ in failed}
    merge_visits(database, anonymous_visits(fact for fact in facts if fact.number not in not_stored))
    payloads = payloads_of(database, [fact.identity for fact, _ in failed], wait_seconds=bronze_wait_seconds)
    now = datetime.now(UTC)
    letters = [
        dead_letter(
            fact.identity,
            failure,
            failed_at=now,
            payload=payload,
            event_id=fact.event_id,
            event_type=fact.event_type,
            occurred_at=fact.occurred_at.isoformat(),
        )
        for (fact, failure), payload in zip(failed, payloads, strict=True)
    ]
    return letters + [foreign_letter(topic, placed, message, now) for placed, message in foreign]


def _write(connection: Connection, facts: Sequence[Fact]) -> list[int]:
    """Insert facts and give the numbers of those in conflict with a stored one."""
    look_up_one_by_one(connection)
    first_of_id: dict[str, str] = {}
    for fact in facts:
        first_of_id.setdefault(fact.event_id, fact.table)
    misplaced = [fact for fact in facts if first_of_id[fact.event_id] != fact.table]
    repeated = {fact.table for fact in misplaced}
    copied: set[str] = set()
    # Always in the order of STAGING, so that two workers never wait for each other in a circle.
    for table, staging in STAGING.items():
        rows = [fact.row for fact in facts if fact.table == table and first_of_id[fact.event_id] == table]
        if rows:
            copy_rows(connection, staging, rows)
            copied.add(table)
            if connection.execute(INSERTS[table].encode()).fetchone() != (len(rows),):
                repeated.add(table)
    for table in sorted({fact.table for fact in misplaced}):
        rows = [fact.row for fact in misplaced if fact.table == table]
        copy_rows(connection, STAGING[table], rows, append=table in copied)
    replays = [(fact.identity, fact.event_id) for fact in facts if fact.identity.attempt > 0]
    if replays:
        settle_replays(connection, replays)
    found = [connection.execute(CONFLICTS[table].encode()).fetchall() for table in sorted(repeated)]
    return [int(str(number)) for rows in found for (number,) in rows]
