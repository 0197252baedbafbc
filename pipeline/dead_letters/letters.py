"""A dead letter as it is stored, and the identity it is named by. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import msgspec

from streams.transport import TransportIdentity

IDENTITY_FORM: Final = "STREAM/EPOCH/SHARD/SEQUENCE/SUB"
IDENTITY_EXAMPLE: Final = "product-events/1795478400000/shardId-000000000000/4957/0"
MOST_SHOWN: Final = 100
"""Characters of a text of the user's that a message repeats."""
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def shown(text: str) -> str:
    """Give a text of the user's for a message: quoted, of a long one only the beginning."""
    return repr(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…")


def check_is_text(text: str) -> str:
    """Give a text back that the database can be asked for.

    Raises:
        ValueError: it was made from bytes of a command line that are no UTF-8, or has a NUL.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(text)} is no text in UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{shown(text)} has a NUL character")
    return text


class Identity(NamedTuple):
    """Where on Kinesis a record came from: the primary key of `dead_letters`.

    Of a record that is on a topic only, `stream` is the topic, or the epoch is 0 and the shard `kafka-…`.
    """

    stream: str
    stream_epoch: int
    shard: str
    sequence_number: str
    sub_sequence_number: int

    def __str__(self) -> str:
        """Give it as commands take it; so is the Kafka key of a dead letter spelled."""
        return "/".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` gives.

        Raises:
            ValueError: it is none.
        """
        parts = text.split("/")
        if len(parts) != len(cls._fields) or not all(parts):
            raise ValueError(f"{shown(text)} is no {IDENTITY_FORM}")
        check_is_text(text)
        stream, epoch, shard, sequence, sub = parts
        # What Python takes for a number and the database does not is none: "1_0", 30 digits.
        if not (_WHOLE_NUMBER.fullmatch(epoch) and _WHOLE_NUMBER.fullmatch(sub)):
            raise ValueError(f"{shown(text)} is no {IDENTITY_FORM}: EPOCH and SUB are whole numbers")
        return cls(stream, int(epoch), shard, sequence, int(sub))


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A row of `dead_letters`. `attempt` is that of the last failure: it has failed `attempt + 1` times."""

    stream: str
    stream_epoch: int
    shard: str
    sequence_number: str
    sub_sequence_number: int
    partition_key: str
    stage: str
    reason: str
    errors: list[dict[str, str]]
    payload: bytes | None
    event_id: str | None
    event_type: str | None
    occurred_at: datetime | None
    arrived_at: datetime
    failed_at: datetime
    processor: str
    processor_version: str
    status: str
    attempt: int
    replayed_payload: bytes | None
    updated_at: datetime

    @property
    def identity(self) -> Identity:
        """Where the record came from."""
        return Identity(
            self.stream, self.stream_epoch, self.shard, self.sequence_number, self.sub_sequence_number
        )

    @property
    def failures(self) -> str:
        """How often it has failed."""
        return f"failed {self.attempt + 1} time{'s' * (self.attempt > 0)}"

    @property
    def first_error(self) -> str:
        """The first of what is wrong, as one line."""
        return next((f"{error['path']}: {error['message']}" for error in self.errors), "")

    @property
    def errors_in_short(self) -> str:
        """The first of what is wrong, and how much more is."""
        more = len(self.errors) - 1
        return f"{self.first_error}; and {more} more" if more > 0 else self.first_error

    def next_transport(self) -> TransportIdentity:
        """Give what the record travels under when it is sent again: as it came, with the next attempt."""
        return TransportIdentity(
            *self.identity,
            partition_key=self.partition_key,
            arrived_at_ms=(self.arrived_at - _EPOCH) // _MILLISECOND,
            attempt=self.attempt + 1,
        )


class _EventId(msgspec.Struct):
    event_id: Any = None


_decode_event_id = msgspec.json.Decoder(_EventId).decode


def event_id_of(payload: bytes) -> str | None:
    """Give the `event_id` that a payload carries, as `canonical_id` does."""
    try:
        return canonical_id(_decode_event_id(payload).event_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def canonical_id(event_id: object) -> str | None:
    """Give an event id as the fact tables spell it; None if it is no UUID, and so no fact's."""
    try:
        return str(UUID(event_id)) if isinstance(event_id, str) else None
    except ValueError:
        return None
