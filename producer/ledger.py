"""The ledger: what was really sent, one JSON line a record, to compare tables with.

A line is written after Kinesis has acknowledged its record, so the ledger never claims what was not sent,
even after `kill -9`. The other way round is possible: the request that was under way then may have arrived
without lines in the ledger (at most 500 records), and a request whose answer got lost is sent again: one
line, two records of the same bytes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Raw, Struct

from producer.records import Kind, Record
from streams.dead_letters import Reason
from streams.events import DECODERS, Event, Stream

_NO_EVENT: Final = Raw(b"null")


class LedgerLine(Struct, kw_only=True, omit_defaults=True):
    """A record that was sent. `event` is its JSON as sent; of a broken one `payload` holds the bytes."""

    kind: Kind
    stream: Stream
    partition_key: str
    event_id: str | None = None
    event_type: str | None = None
    occurred_at: datetime | None = None
    late: bool = False
    reason: Reason | None = None
    event: Raw = _NO_EVENT
    payload: bytes | None = None

    @property
    def value(self) -> bytes:
        """The bytes that were sent."""
        return bytes(self.event) if self.payload is None else self.payload

    def decode(self) -> Event:
        """Give the typed event; raises `msgspec.DecodeError` for a broken one."""
        event: Event = DECODERS[self.stream].decode(self.value)
        return event


_encoder = msgspec.json.Encoder()
_decode_line = msgspec.json.Decoder(LedgerLine).decode


def ledger_line(record: Record) -> bytes:
    """Give a record's line, without the line's end."""
    broken = record.kind == "broken"
    return _encoder.encode(
        LedgerLine(
            kind=record.kind,
            stream=record.stream,
            partition_key=record.partition_key,
            event_id=record.event_id,
            event_type=record.event_type,
            occurred_at=record.occurred_at,
            late=record.late,
            reason=record.reason,
            event=_NO_EVENT if broken else Raw(record.value),
            payload=record.value if broken else None,
        )
    )


class LedgerWriter:
    """Appends to a ledger; what it has written survives the death of the process (not of the machine).

    An incomplete last line, left by a kill, is cut off first.

    Raises:
        OSError: the file cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        self._cut_incomplete_line()

    def _cut_incomplete_line(self) -> None:
        size = self._file.seek(0, 2)
        end = size
        while end:
            start = max(0, end - 65536)
            self._file.seek(start)
            newline = self._file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            self._file.truncate(end)

    def write(self, records: Sequence[Record]) -> None:
        """Append the lines of records that Kinesis has acknowledged; they are with the system on return."""
        lines = memoryview(b"".join(ledger_line(record) + b"\n" for record in records))
        while lines:
            lines = lines[self._file.write(lines) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_ledger(path: Path) -> Iterator[LedgerLine]:
    """Read a ledger, line by line; an incomplete last line is left out.

    Raises:
        OSError: the file cannot be read.
        msgspec.DecodeError: a line is not a ledger's.
    """
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode_line(line)


@dataclass
class LedgerSummary:
    """Counts of a ledger's records."""

    records: int = 0
    late: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    facts_by_stream: Counter[str] = field(default_factory=Counter)
    facts_by_type: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record | LedgerLine) -> None:
        """Count one more record."""
        self.records += 1
        self.late += record.late
        self.kinds[record.kind] += 1
        self.streams[record.stream] += 1
        if record.kind == "fact":
            self.facts_by_stream[record.stream] += 1
            self.facts_by_type[record.event_type or ""] += 1
        if record.reason is not None:
            self.reasons[record.reason.value] += 1


def summarise_ledger(lines: Iterable[LedgerLine]) -> LedgerSummary:
    """Count a ledger's records by kind, stream, type and reason."""
    summary = LedgerSummary()
    for line in lines:
        summary.add(line)
    return summary
