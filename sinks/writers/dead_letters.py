"""The dead letters' topic into the table `dead_letters`, one row per broken record."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sinks.database import Connection, Database, write_bisecting
from sinks.mapping.dead_letters import STAGING, LetterRow, letter_rows, rounds_of
from sinks.records import foreign_letter
from sinks.staging import copy_rows
from streams.dead_letters import DeadLetter
from streams.engine.batch import Placed
from streams.topics import DEAD_LETTERS
from streams.transport import TransportIdentity

# Only a later attempt changes a row, so that reading the topic again does not undo a replay or a discard.
# Failing again in the same way exhausts it. The payload stays what came from Kinesis.
_UPSERT: Final = f"""
    INSERT INTO dead_letters AS stored ({STAGING.columns})
    SELECT {STAGING.columns} FROM {STAGING.name}
    ORDER BY stream, stream_epoch, shard, sequence_number, sub_sequence_number
    ON CONFLICT (stream, stream_epoch, shard, sequence_number, sub_sequence_number) DO UPDATE SET
        status = CASE
            WHEN stored.reason = excluded.reason AND stored.errors = excluded.errors THEN 'exhausted'
            ELSE 'pending'
        END,
        stage = excluded.stage,
        reason = excluded.reason,
        errors = excluded.errors,
        payload = CASE
            -- what failed now is the correction
            WHEN stored.replayed_payload IS NOT NULL THEN stored.payload
            ELSE coalesce(stored.payload, excluded.payload)
        END,
        event_id = coalesce(excluded.event_id, stored.event_id),
        event_type = coalesce(excluded.event_type, stored.event_type),
        occurred_at = coalesce(excluded.occurred_at, stored.occurred_at),
        failed_at = excluded.failed_at,
        processor = excluded.processor,
        processor_version = excluded.processor_version,
        attempt = excluded.attempt,
        updated_at = now()
    WHERE excluded.attempt > stored.attempt
"""  # noqa: S608  (names of our own)

# The row follows what became of the record, whoever sent it again and was perhaps killed before noting it. An
# equal attempt counts too: a batch that comes again may meet better rules than it did at first.
_SETTLE: Final = """
    UPDATE dead_letters AS letter
    SET status = 'replayed', event_id = replay.event_id, updated_at = now()
    FROM unnest(
        %(stream)s::text[], %(stream_epoch)s::bigint[], %(shard)s::text[], %(sequence_number)s::text[],
        %(sub_sequence_number)s::bigint[], %(attempt)s::integer[], %(event_id)s::text[]
    ) AS replay (stream, stream_epoch, shard, sequence_number, sub_sequence_number, attempt, event_id)
    WHERE letter.stream = replay.stream
        AND letter.stream_epoch = replay.stream_epoch
        AND letter.shard = replay.shard
        AND letter.sequence_number = replay.sequence_number
        AND letter.sub_sequence_number = replay.sub_sequence_number
        AND letter.attempt <= replay.attempt
        AND letter.status <> 'replayed'
"""


def settle_replays(connection: Connection, replays: Sequence[tuple[TransportIdentity, str]]) -> None:
    """Note in their dead letters that records which were sent again are facts now.

    Args:
        connection: whose transaction stores the facts.
        replays: identity and `event_id` of each fact of a second or later attempt.
    """
    columns = ("stream", "stream_epoch", "shard", "sequence_number", "sub_sequence_number", "attempt")
    wanted: dict[str, list[object]] = {
        name: [getattr(identity, name) for identity, _ in replays] for name in columns
    }
    connection.execute(_SETTLE.encode(), {**wanted, "event_id": [event_id for _, event_id in replays]})


def write_dead_letters(database: Database, records: Sequence[Placed]) -> list[DeadLetter]:
    """Store records of the dead letters' topic; harmless when done again.

    A record that failed again after a replay updates its row: `pending`, or `exhausted` when it failed with
    the same reason and errors.

    Returns:
        dead letters of records on the topic that are no dead letters.

    Raises:
        DatabaseUnavailableError: the database stayed away; what was written is kept.
    """
    rows, foreign = letter_rows(records)
    refused = []
    for of_one_round in rounds_of(rows):
        _, refused_whole = write_bisecting(database, of_one_round, _write)
        # What was read off the broken record may itself be what cannot be stored; its bytes can.
        bare = [item._replace(event_id=None, event_type=None, occurred_at=None) for item, _ in refused_whole]
        refused += write_bisecting(database, bare, _write)[1]
    if refused:
        raise ValueError(f"dead letter {refused[0].item[:5]} cannot be stored: {refused[0].message}")
    now = datetime.now(UTC)
    return [foreign_letter(DEAD_LETTERS, placed, message, now) for placed, message in foreign]


def _write(connection: Connection, rows: Sequence[LetterRow]) -> None:
    copy_rows(connection, STAGING, rows)
    connection.execute(_UPSERT.encode())
