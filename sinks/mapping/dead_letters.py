"""Dead letters to rows of `dead_letters`. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from sinks.mapping.bronze import instant_of_text
from sinks.records import without_nul
from sinks.schema import dead_letters
from sinks.staging import Staging, staging_of
from streams.dead_letters import DeadLetter, decode_dead_letter
from streams.engine.batch import Placed

STAGING: Final[Staging] = staging_of(dead_letters, without={"status", "replayed_payload", "updated_at"})


class LetterRow(NamedTuple):
    """A row of `dead_letters` in the order of its staging table; `errors` is JSON."""

    stream: str
    stream_epoch: int
    shard: str
    sequence_number: str
    sub_sequence_number: int
    partition_key: str
    stage: str
    reason: str
    errors: str
    payload: bytes | None
    event_id: str | None
    event_type: str | None
    occurred_at: datetime | None
    arrived_at: datetime
    failed_at: datetime
    processor: str
    processor_version: str
    attempt: int


def letter_rows(records: Iterable[Placed]) -> tuple[list[LetterRow], list[tuple[Placed, str]]]:
    """Give the rows of records of the dead letters' topic, and the records that are none of ours."""
    rows, foreign = [], []
    for placed in records:
        try:
            rows.append(letter_row(decode_dead_letter(placed[1].value or b"")))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            foreign.append((placed, str(error)))
    return rows, foreign


def letter_row(letter: DeadLetter) -> LetterRow:
    """Give the row of one dead letter; what no text of Postgres can hold is replaced, but in the payload."""
    errors = [{"path": without_nul(e.path), "message": without_nul(e.message)} for e in letter.errors]
    return LetterRow(
        stream=without_nul(letter.stream),
        stream_epoch=letter.stream_epoch,
        shard=without_nul(letter.shard),
        sequence_number=without_nul(letter.sequence_number),
        sub_sequence_number=letter.sub_sequence_number,
        partition_key=without_nul(letter.partition_key),
        stage=letter.stage,
        reason=letter.reason.value,
        errors=msgspec.json.encode(errors).decode(),
        payload=letter.payload,
        event_id=_text(letter.event_id),
        event_type=_text(letter.event_type),
        occurred_at=instant_of_text(letter.occurred_at),
        arrived_at=letter.arrived_at,
        failed_at=letter.failed_at,
        processor=letter.processor,
        processor_version=letter.processor_version,
        attempt=letter.attempt,
    )


def rounds_of(rows: Sequence[LetterRow]) -> list[list[LetterRow]]:
    """Divide rows so that each round has a record once, its attempts in their order, sorted by primary key.

    Of letters for the same attempt the first stays.
    """
    attempts: dict[tuple[Any, ...], dict[int, LetterRow]] = {}
    for row in rows:
        attempts.setdefault(row[:5], {}).setdefault(row.attempt, row)
    rounds: list[list[LetterRow]] = []
    for key in sorted(attempts):
        of_key = attempts[key]
        for number, attempt in enumerate(sorted(of_key)):
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(of_key[attempt])
    return rounds


def _text(value: str | None) -> str | None:
    return None if value is None else without_nul(value)
