"""Raw records to rows of bronze: everything is kept, and what can be read is put into columns. Pure."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from sinks.records import without_nul
from streams.engine.batch import Placed
from streams.events import Stream
from streams.transport import TransportIdentity, identity_of

MAX_TEXT: Final = 200
"""Characters that are kept of an unknown event type."""

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")

_FINER: Final = re.compile(r"[.,][0-9]{7}")
"""A fraction of a second with more digits than a microsecond has."""


class BronzeRow(NamedTuple):
    """A row of a bronze table, in its order; `loaded_at` is the database's."""

    arrived_at: datetime
    stream_epoch: int
    shard: str
    sequence_number: str
    sub_sequence_number: int
    partition_key: str
    payload: str | None
    raw: bytes | None
    event_id: str | None
    event_type: str | None
    occurred_at: datetime | None

    def as_raw(self) -> "BronzeRow":
        """Give the row with its payload as bytes, for a database that does not take it as JSON."""
        raw = self.raw if self.payload is None else self.payload.encode()
        return self._replace(payload=None, raw=raw, event_id=None, event_type=None, occurred_at=None)


class _Readable(Struct):
    event_id: Any = None
    event_type: Any = None
    occurred_at: Any = None


_NOTHING: Final = _Readable()
_decode_json = msgspec.json.Decoder().decode
_decode_readable = msgspec.json.Decoder(_Readable).decode


def bronze_rows(stream: Stream, records: Iterable[Placed]) -> list[BronzeRow]:
    """Give the rows of records, sorted by primary key, each identity once; replays are stored already."""
    rows: dict[tuple[Any, ...], BronzeRow] = {}
    for partition, record in records:
        identity = identity_of(stream, partition, record)
        _, epoch, shard, sequence, sub_sequence, _, arrived_at_ms, attempt = identity
        key = (arrived_at_ms, epoch, shard, sequence, sub_sequence)
        if attempt == 0 and key not in rows:
            rows[key] = bronze_row(identity, record.value or b"")
    return [rows[key] for key in sorted(rows)]


def bronze_row(identity: TransportIdentity, value: bytes) -> BronzeRow:
    """Give the row of one record."""
    payload, read = _read(value)
    event_id, event_type = read.event_id, read.event_type
    return BronzeRow(
        identity.arrived_at,
        identity.stream_epoch,
        identity.shard,
        identity.sequence_number,
        identity.sub_sequence_number,
        without_nul(identity.partition_key),
        payload,
        value if payload is None else None,
        event_id if isinstance(event_id, str) and _UUID.fullmatch(event_id) else None,
        without_nul(event_type)[:MAX_TEXT] if isinstance(event_type, str) else None,
        instant_of_text(read.occurred_at),
    )


def _read(value: bytes) -> tuple[str | None, _Readable]:
    """Give the exact text of a payload, None if Postgres' `json` cannot hold it, and what can be read in it.

    It holds any valid JSON in UTF-8; an escaped NUL is only text to it, a real one is no valid JSON.
    """
    try:
        return value.decode(), _decode_readable(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        _decode_json(value)
        return value.decode(), _NOTHING
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, _NOTHING


def _rounded(text: str) -> datetime:
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return datetime.fromisoformat(text)


def instant_of_text(text: object) -> datetime | None:
    """Give the instant, in UTC, that a text in RFC 3339 means; None if it has no offset or is none.

    Digits beyond the microsecond are rounded, as they are in facts. None too where UTC leaves the years 1 to
    9999, which neither Python nor a driver can hold.
    """
    if not isinstance(text, str):
        return None
    try:
        instant = _rounded(text) if _FINER.search(text) else datetime.fromisoformat(text)
        if instant.tzinfo is UTC:
            return instant
        return None if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
