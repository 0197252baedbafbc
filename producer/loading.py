"""Events from files: JSON lines, plain or gzip, of any age, in the file's order or sorted by event time."""

import gzip
import heapq
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedReader
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from producer.kinesis import fits
from producer.records import Record, partition_key_of
from producer.run import Sender, Summary, Writer, send_all
from streams.events import MAX_EVENT_BYTES, STREAM_OF_TYPE, Stream

STANDARD_INPUT: Final = Path("-")
FALLBACK_STREAM: Final[Stream] = "customer-events"
SHOWN_LINES: Final = 10
SORT_MEMORY_BYTES: Final = 128 * 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"
_READ_LIMIT: Final = MAX_EVENT_BYTES + 2


class LoadError(Exception):
    """A file cannot be read; the message is one line and says which and why."""


class Line(NamedTuple):
    """A line of a file, without its end; `size` is its true length, also if only its beginning was read."""

    file: str
    number: int
    value: bytes
    size: int


class LinePlace(NamedTuple):
    """Where a line is, for messages."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass
class LoadSummary:
    """What has become of the lines.

    `unreadable` were sent, though no stream follows from them: they become dead letters. `too_large` were not
    sent: Kinesis takes no record that has over 1 MiB with its partition key. Of each, the first places are
    kept.
    """

    sent: Summary = field(default_factory=Summary)
    empty: int = 0
    unreadable: int = 0
    unreadable_at: list[LinePlace] = field(default_factory=list)
    too_large: int = 0
    too_large_at: list[LinePlace] = field(default_factory=list)


@contextmanager
def open_lines(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacking gzip whatever its name; `-` is the standard input.

    Raises:
        LoadError: it is missing or cannot be read.
    """
    with ExitStack() as opened:
        try:
            raw: Any = sys.stdin.buffer if path == STANDARD_INPUT else opened.enter_context(path.open("rb"))
            if not hasattr(raw, "peek"):  # a standard input that is kept in memory
                raw = BufferedReader(raw)
            is_packed = raw.peek(2)[:2] == _GZIP_MAGIC
        except OSError as error:
            raise LoadError(f"{path} cannot be read: {error.strerror or error}") from error
        file: Any = opened.enter_context(gzip.open(raw)) if is_packed else raw
        yield file


def read_lines(path: Path) -> Iterator[Line]:
    """Read a file's lines; of one that is far too long only the beginning is kept in memory.

    Raises:
        LoadError: it is missing, cannot be read, or its packing is damaged.
    """
    number = 0
    with open_lines(path) as file:
        while True:
            try:
                part = file.readline(_READ_LIMIT)
                value, size = part, len(part)
                while part and not part.endswith(b"\n"):
                    part = file.readline(_READ_LIMIT)
                    size += len(part)
            except (OSError, EOFError, zlib.error) as error:
                raise LoadError(f"{path} cannot be read after line {number}: {error}") from error
            if not value:
                return
            number += 1
            yield Line(str(path), number, value.rstrip(b"\r\n"), size)


class _Head(Struct):
    event_type: Any = None
    event_id: Any = None
    occurred_at: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode


def read_head(value: bytes) -> tuple[Stream | None, _Head]:
    """Give an event's stream (None if its `event_type` names none) and what it says of itself."""
    try:
        head = _decode_head(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, _Head()
    stream = STREAM_OF_TYPE.get(head.event_type) if isinstance(head.event_type, str) else None
    return stream, head


def instant_of(text: object) -> float | None:
    """Give the seconds since 1970 of an RFC 3339 instant (UTC if it has no offset), None if it is none."""
    try:
        found = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def to_records(lines: Iterable[Line], summary: LoadSummary, stream: Stream | None = None) -> Iterator[Record]:
    """Make a record of each line that can be sent; count the others.

    Args:
        lines: of one or more files.
        summary: is told what cannot be sent, or cannot be read.
        stream: where lines go that no stream follows from; None: where the readable line before them went
            (before the first one: customer-events).
    """
    before: Stream = stream or FALLBACK_STREAM
    for line in lines:
        if not line.value.strip():
            summary.empty += 1
            continue
        found, head = read_head(line.value)
        record = Record(
            stream=found or before,
            value=line.value,
            partition_key=partition_key_of(line.value),
            event_id=head.event_id if isinstance(head.event_id, str) else None,
            event_type=head.event_type if isinstance(head.event_type, str) else None,
        )
        if line.size > _READ_LIMIT or not fits(record):
            summary.too_large += 1
            _keep(summary.too_large_at, line)
            continue
        if found is None:
            summary.unreadable += 1
            _keep(summary.unreadable_at, line)
        elif stream is None:
            before = found
        yield record


def _keep(places: list[LinePlace], line: Line) -> None:
    if len(places) < SHOWN_LINES:
        places.append(LinePlace(line.file, line.number))


_Keyed = tuple[float, int, Line]


def sort_lines(
    lines: Iterable[Line], folder: Path | None = None, memory_bytes: int = SORT_MEMORY_BYTES
) -> Iterator[Line]:
    """Sort lines by event time, equal ones in the file's order.

    Done in memory, or by parts on disk if there are many. A line without a readable instant stays with the
    line before it.

    Args:
        lines: of one or more files.
        folder: where parts are kept meanwhile; None: the system's.
        memory_bytes: of lines to hold at once, about.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="sort-") as parts_folder:
        parts: list[Path] = []
        chunk: list[_Keyed] = []
        held, last = 0, 0.0
        for index, line in enumerate(lines):
            at = instant_of(read_head(line.value)[1].occurred_at)
            last = last if at is None else at
            chunk.append((last, index, line))
            held += len(line.value) + 200
            if held > memory_bytes:
                parts.append(_write_part(Path(parts_folder) / str(len(parts)), chunk))
                chunk, held = [], 0
        chunk.sort(key=itemgetter(0, 1))
        sources: list[Iterable[_Keyed]] = [_read_part(part) for part in parts]
        for _, _, line in heapq.merge(*sources, chunk, key=itemgetter(0, 1)):
            yield line


def _write_part(path: Path, chunk: list[_Keyed]) -> Path:
    chunk.sort(key=itemgetter(0, 1))
    encode = msgspec.msgpack.Encoder().encode
    with path.open("wb") as file:
        for keyed in chunk:
            packed = encode(keyed)
            file.write(len(packed).to_bytes(4, "big") + packed)
    return path


def _read_part(path: Path) -> Iterator[_Keyed]:
    decode = msgspec.msgpack.Decoder(_Keyed).decode
    with path.open("rb") as file:
        while size := file.read(4):
            yield decode(file.read(int.from_bytes(size, "big")))


def load(
    paths: Sequence[Path],
    writer: Writer,
    *,
    stream: Stream | None = None,
    sort: bool = False,
    summary: LoadSummary | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
) -> LoadSummary:
    """Send the events of files; blocks until all are acknowledged.

    Args:
        paths: JSON lines, plain or gzip; `-` is the standard input.
        writer: takes the records.
        stream: where lines go that no stream follows from; see `to_records`.
        sort: by event time, over all files.
        summary: to be filled (so that it can be looked at after an error); None: a new one.
        stop: asked between requests; if true the load ends.
        progress: told how many more records were acknowledged.

    Raises:
        LoadError: a file cannot be read. All are opened before anything is sent.
        producer.kinesis.KinesisError: the writer's.
    """
    for path in paths:
        if path != STANDARD_INPUT:
            with open_lines(path):
                pass
    summary = summary or LoadSummary()
    sender = Sender(writer, None, progress, summary.sent)
    lines: Iterator[Line] = (line for path in paths for line in read_lines(path))
    if sort:
        lines = sort_lines(lines)
    send_all(to_records(lines, summary, stream), sender, stop)
    return summary
