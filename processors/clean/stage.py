"""The cleaning stage: a raw topic's batch to clean events and dead letters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from processors.clean.decode import decode_event
from processors.clean.facts import Enrichment, to_fact
from processors.clean.rules import check_event
from processors.clean.watermarks import Watermarks
from processors.outcomes import Refusal
from streams.dead_letters import DeadLetter, FieldError, Reason, dead_letter_key, encode_dead_letter
from streams.engine.batch import Batch, Output, Record, Result, StateReader
from streams.engine.crash import OperatorError
from streams.events import Stream
from streams.facts import RAW_AT, encode_fact
from streams.silver import Revision
from streams.topics import DEAD_LETTERS, raw_topic
from streams.transport import TransportIdentity, identity_of, to_headers

FLOOD_RECORDS: Final = 200
PROCESSOR_VERSION: Final = "1"


class _Readable(msgspec.Struct):
    """What a dead letter shows of a broken record, if it can be read."""

    event_id: object = None
    event_type: object = None
    occurred_at: object = None


_decode_readable = msgspec.json.Decoder(_Readable).decode


class CleanStage:
    """Cleans one stream.

    Args:
        stream: whose raw topic is read.
        enrichment: the tables that facts are enriched from.
        gap: lateness counts from it, as sessions do.
        accept_flood: go on when most records of a batch are broken.
    """

    stateful: Final = True
    state_settings: Final[Mapping[str, str]] = {}

    def __init__(
        self, stream: Stream, enrichment: Enrichment, gap: timedelta, *, accept_flood: bool = False
    ) -> None:
        self.name = f"clean-{stream}"
        self.topic = raw_topic(stream)
        self._stream: Stream = stream
        self._enrichment = enrichment
        self._gap = gap
        self._accept_flood = accept_flood

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (what it sends has no revision)
        """Clean a batch: each record becomes one clean event or one dead letter.

        Raises:
            OperatorError: more than half of at least 200 records are broken; nothing is sent then.
        """
        watermarks = Watermarks(state, self._gap)
        outputs = []
        refused: list[DeadLetter] = []
        refused_outputs: list[Output] = []
        for record in batch.records:
            identity = identity_of(self._stream, batch.partition, record)
            outcome = self._clean(record, identity, watermarks)
            if isinstance(outcome, Refusal):
                letter = _dead_letter(outcome, record, identity, self.name, now)
                refused.append(letter)
                key, value = dead_letter_key(letter), encode_dead_letter(letter)
                refused_outputs.append(Output(DEAD_LETTERS, key, value))
            else:
                outputs.append(outcome)
        self._stop_on_flood(refused, len(batch.records))
        return Result(outputs + refused_outputs, watermarks.changes())

    def _clean(self, record: Record, identity: TransportIdentity, watermarks: Watermarks) -> Output | Refusal:
        try:
            event = decode_event(self._stream, record.value or b"")
            if isinstance(event, Refusal):
                return event
            refusal = check_event(event, identity.arrived_at, self._enrichment.rates)
            if refusal is not None:
                return refusal
            late = watermarks.observe(identity, event.occurred_at)
            topic, key, fact = to_fact(
                event, arrived_at=identity.arrived_at, late=late, enrichment=self._enrichment
            )
            value = encode_fact(fact)
        except Exception as error:  # noqa: BLE001  (a defect of ours: the record is kept as a dead letter)
            return Refusal(Reason.PROCESSING_ERROR, [FieldError("$", f"{type(error).__name__}: {error}")])
        headers = [*to_headers(identity), (RAW_AT, b"%d" % record.timestamp)]
        return Output(topic, key.encode(), value, headers)

    def _stop_on_flood(self, refused: list[DeadLetter], records: int) -> None:
        if self._accept_flood or records < FLOOD_RECORDS or len(refused) * 2 <= records:
            return
        reasons = [letter.reason for letter in refused]
        commonest = max(sorted(set(reasons)), key=reasons.count)
        example = next(letter for letter in refused if letter.reason == commonest)
        raise OperatorError(
            f"{len(refused)} of {records} records of {self.topic} are broken, most with {commonest} "
            f"(for example {example.errors[0].path}: {example.errors[0].message}). Nothing was sent. "
            f"Correct the producer or the rules and start again, or let them all become dead letters with "
            f"`pipeline process --accept-flood`"
        )


def _dead_letter(
    refusal: Refusal, record: Record, identity: TransportIdentity, stage: str, now: datetime
) -> DeadLetter:
    payload = record.value or b""
    try:
        readable = _decode_readable(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        readable = _Readable()
    return DeadLetter(
        stream=identity.stream,
        stream_epoch=identity.stream_epoch,
        shard=identity.shard,
        sequence_number=identity.sequence_number,
        sub_sequence_number=identity.sub_sequence_number,
        partition_key=identity.partition_key,
        stage="clean",
        reason=refusal.reason,
        errors=refusal.errors,
        payload=payload,
        event_id=_text(readable.event_id),
        event_type=_text(readable.event_type),
        occurred_at=_text(readable.occurred_at),
        arrived_at=identity.arrived_at,
        failed_at=now,
        processor=stage,
        processor_version=PROCESSOR_VERSION,
        attempt=identity.attempt,
    )


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None
