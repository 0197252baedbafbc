"""Reading records of Kafka, and what a sink says of one it cannot take. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streams.dead_letters import DeadLetter, FieldError, Reason
from streams.engine.batch import Placed, Record
from streams.transport import TransportIdentity, identity_of

Decoded = TypeVar("Decoded")

STAGE: Final = "sink"
PROCESSOR: Final = "sinks"
try:
    PROCESSOR_VERSION: Final = version("event-pipeline")
except PackageNotFoundError:  # run from a folder, not installed
    PROCESSOR_VERSION: Final = "unknown"  # type: ignore[misc]  # one of two branches


class Failure(NamedTuple):
    """Why a record was not written, in a dead letter's words."""

    reason: Reason
    message: str
    path: str = "$"


def dead_letter(
    identity: TransportIdentity,
    failure: Failure,
    *,
    failed_at: datetime,
    payload: bytes | None,
    event_id: str | None = None,
    event_type: str | None = None,
    occurred_at: str | None = None,
) -> DeadLetter:
    """Give the dead letter of a record that a sink refused."""
    return DeadLetter(
        stream=identity.stream,
        stream_epoch=identity.stream_epoch,
        shard=identity.shard,
        sequence_number=identity.sequence_number,
        sub_sequence_number=identity.sub_sequence_number,
        partition_key=identity.partition_key,
        stage=STAGE,
        reason=failure.reason,
        errors=[FieldError(failure.path, failure.message)],
        payload=payload,
        event_id=event_id,
        event_type=event_type,
        occurred_at=occurred_at,
        arrived_at=identity.arrived_at,
        failed_at=failed_at,
        processor=PROCESSOR,
        processor_version=PROCESSOR_VERSION,
        attempt=identity.attempt,
    )


def foreign_letter(topic: str, placed: Placed, message: str, failed_at: datetime) -> DeadLetter:
    """Give the dead letter of a record that is none of ours, or of an entity that cannot be stored.

    It has no identity of Kinesis: the topic stands for the stream, its place in the topic for the rest.
    """
    partition, record = placed
    return dead_letter(
        identity_of(topic, partition, record),
        Failure(Reason.REFUSED_BY_SINK, message),
        failed_at=failed_at,
        payload=record.value,
    )


def decode_each(
    values: Sequence[bytes],
    decode_all: Callable[[bytes], Sequence[Decoded]],
    decode_one: Callable[[bytes], Decoded],
) -> list[Decoded | Exception]:
    """Decode values in one call; one by one when that fails, each wrong one giving its exception."""
    try:
        decoded: Sequence[Decoded] = decode_all(b"[" + b",".join(values) + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = []
    if len(decoded) == len(values):
        return list(decoded)
    return [_decoded_or_error(decode_one, value) for value in values]


def _decoded_or_error(decode_one: Callable[[bytes], Decoded], value: bytes) -> Decoded | Exception:
    try:
        return decode_one(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return error


def header(record: Record, name: str) -> bytes | None:
    """Give a record's header, None if it has none of that name."""
    return next((value for key, value in record.headers if key == name), None)


def without_nul(text: str) -> str:
    """Give the text as Postgres can hold it: NUL characters and lone surrogates are replaced by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode(errors="surrogatepass").decode(errors="replace")


def holds_nul(row: Iterable[Any]) -> bool:
    """Tell whether a text of the row holds a NUL character, which Postgres cannot store."""
    return any(isinstance(value, str) and "\0" in value for value in row)
