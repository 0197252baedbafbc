"""The envelope of what could not be processed: everything that is needed to repair it and send it again."""

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct


class Reason(StrEnum):
    """Why a record was refused: the closed list."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    UNKNOWN_VERSION = "unknown_version"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    INVALID_TIMESTAMP = "invalid_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"
    UNKNOWN_CURRENCY = "unknown_currency"
    CONFLICTING_EVENT_ID = "conflicting_event_id"
    REFUSED_BY_SINK = "refused_by_sink"
    PROCESSING_ERROR = "processing_error"


class FieldError(Struct):
    """One thing that is wrong with a record; `path` is like `$.items[0].quantity`, `$` the whole."""

    path: str
    message: str


class DeadLetter(Struct, kw_only=True):
    """One broken record. `payload` holds its bytes as they came (base64 in JSON)."""

    stream: str
    stream_epoch: int
    shard: str
    sequence_number: str
    sub_sequence_number: int
    partition_key: str
    stage: str
    reason: Reason
    errors: list[FieldError]
    payload: bytes | None
    event_id: str | None = None
    event_type: str | None = None
    occurred_at: str | None = None
    arrived_at: datetime
    failed_at: datetime
    processor: str
    processor_version: str
    attempt: int = 0


def dead_letter_key(letter: DeadLetter) -> bytes:
    """Give the Kafka key of a dead letter: its transport identity, so that its letters stay in order."""
    return (
        f"{letter.stream}/{letter.stream_epoch}/{letter.shard}/"
        f"{letter.sequence_number}/{letter.sub_sequence_number}"
    ).encode()


decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode
encode_dead_letter = msgspec.json.Encoder().encode
