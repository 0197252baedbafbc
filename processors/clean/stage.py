"""The cleaning stage: a raw topic's batch to clean events and dead letters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from processors.clean.facts import Enrichment, to_fact
from processors.clean.flood import FloodWatch
from processors.clean.read import read_event
from processors.clean.watermarks import Watermarks
from processors.outcomes import Refusal, problem, refuse
from streams.dead_letters import DeadLetter, FieldError, Reason, dead_letter_key, encode_dead_letter
from streams.engine.batch import Batch, Output, Record, Result, StateReader
from streams.engine.crash import OperatorError
from streams.events import Stream
from streams.facts import RAW_AT, encode_fact
from streams.silver import Revision
from streams.topics import DEAD_LETTERS, raw_topic
from streams.transport import LAST_MS, TransportIdentity, identity_of, to_headers

PROCESSOR_VERSION: Final = "2"
MAX_PAYLOAD_BYTES: Final = 2 * 1024 * 1024
"""In a dead letter bytes take a third more; with them it must fit into a message (4 MiB)."""


class _Readable(msgspec.Struct):
    """What a dead letter shows of a broken record, if it can be read."""

    event_id: object = None
    event_type: object = None
    occurred_at: object = None


_decode_readable = msgspec.json.Decoder(_Readable).decode


class CleanStage:
    """Cleans one stream.

    Its state is the watermark of each source. It depends on no setting: the gap says which events are called
    late from now on, not how far time has come.

    Args:
        stream: whose raw topic is read.
        enrichment: the tables that facts are enriched from.
        gap: lateness counts from it, as sessions do.
        accept_flood: go on when most records are broken.
    """

    stateful: Final = True
    state_settings: Final[Mapping[str, str]] = {"layout": "1"}

    def __init__(
        self, stream: Stream, enrichment: Enrichment, gap: timedelta, *, accept_flood: bool = False
    ) -> None:
        self.name = f"clean-{stream}"
        self.topic = raw_topic(stream)
        self._stream: Stream = stream
        self._enrichment = enrichment
        self._gap = gap
        self._watch = None if accept_flood else FloodWatch()

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (what it sends has no revision)
        """Clean a batch: each record becomes one clean event or one dead letter.

        Watermarks are sent after all else: a crash in between must not make events late that were not.

        Raises:
            OperatorError: with this batch more than half of at least 200 consecutive records are broken;
                nothing of it is sent then.
        """
        watermarks = Watermarks(state, self._gap)
        outputs = []
        refused: list[Output] = []
        outcomes = []
        for record in batch.records:
            identity = identity_of(self._stream, batch.partition, record)
            outcome = self._clean(record, identity, watermarks)
            if identity.attempt == 0:  # a replay is known to have been broken, and asked for
                outcomes.append(outcome)
            if isinstance(outcome, Refusal):
                letter = _dead_letter(outcome, record, identity, self.name, now)
                refused.append(Output(DEAD_LETTERS, dead_letter_key(letter), encode_dead_letter(letter)))
            else:
                outputs.append(outcome)
        flood = self._watch and self._watch.add(batch.partition, batch.start, batch.next, outcomes)
        if flood:
            raise OperatorError(
                f"{self.topic}[{batch.partition}]: {flood}. They were not sent. Correct the producer or the "
                f"rules and start again, or let them all become dead letters with "
                f"`pipeline process --accept-flood`"
            )
        changes = watermarks.changes()
        return Result(outputs + refused, then=Result(changes=changes) if changes else None)

    def _clean(self, record: Record, identity: TransportIdentity, watermarks: Watermarks) -> Output | Refusal:
        try:
            arrived_at = identity.arrived_at
            event = read_event(self._stream, record.value or b"", arrived_at, self._enrichment.rates)
            if isinstance(event, Refusal):
                return event
            late = watermarks.observe(identity, event.occurred_at, arrived_at)
            topic, key, fact = to_fact(event, arrived_at=arrived_at, late=late, enrichment=self._enrichment)
            value = encode_fact(fact)
        except Exception as error:  # noqa: BLE001  (a defect of ours: the record is kept as a dead letter)
            return refuse([problem(Reason.PROCESSING_ERROR, "$", f"{type(error).__name__}: {error}")])
        headers = to_headers(identity)
        if 0 <= record.timestamp <= LAST_MS:  # whoever wrote the record may have said anything
            headers.append((RAW_AT, b"%d" % record.timestamp))
        return Output(topic, key.encode(), value, headers)


def _dead_letter(
    refusal: Refusal, record: Record, identity: TransportIdentity, stage: str, now: datetime
) -> DeadLetter:
    value = record.value or b""
    fits = len(value) <= MAX_PAYLOAD_BYTES
    errors = refusal.errors
    try:
        readable = _decode_readable(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        readable = _Readable()
    if not fits:
        errors = [*errors, FieldError("$", "too large for a dead letter: its bytes are in bronze only")]
    return DeadLetter(
        stream=identity.stream,
        stream_epoch=identity.stream_epoch,
        shard=identity.shard,
        sequence_number=identity.sequence_number,
        sub_sequence_number=identity.sub_sequence_number,
        partition_key=identity.partition_key,
        stage="clean",
        reason=refusal.reason,
        errors=errors,
        payload=value if fits else None,
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
