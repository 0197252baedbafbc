"""The state of one partition of one stage: a local store that a changelog can always make again.

Each value is kept, in the store as in the changelog, behind its revision. Recovery keeps the highest revision
of a key, so what a stale worker wrote late does not win (as long as both records are there: compaction keeps
the last one, whatever its revision); a key without state keeps its revision. The store remembers up to which
changelog offset it holds everything, so a restart reads only what came after. It can be deleted at any time.

Since the changelog is what counts, the store may be behind it: values are written out when they have come to
something, or when the store's position is noted. A key that changes with every batch is written once.

The epoch's own record says when the state began and with which settings. What was written in an earlier epoch
is not seen any more.
"""

import logging
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec
from rocksdict import Rdict, WriteBatch

from streams.engine.changelog import Change, Chunk
from streams.engine.store import StoreMemory, open_store
from streams.silver import Revision
from streams.topics import DELETIONS_KEPT_MS

log = logging.getLogger(__name__)

EPOCH_KEY: Final = b"\x00epoch"
POSITION_KEY: Final = b"\x00position"
FIRST_KEY: Final = b"\x01"
"""Keys of stages do not begin with a NUL byte: those are the table's own."""
UNWRITTEN_BYTES: Final = 1024 * 1024
"""Keys and values of a table that are held back from its store, at most, about."""
NOT_RECOVERED: Final = -1
"""In place of an end that the store is known to reach: no changelog ends there."""
OLDEST_COPY_MS: Final = DELETIONS_KEPT_MS * 5 // 6
"""A copy whose position is older may have missed that a key was deleted for good."""
_REVISION: Final = struct.Struct(">Qq")
_POSITION: Final = struct.Struct(">qq")
"""A changelog offset, and when it was noted (milliseconds since 1970)."""
_EPOCH_BYTES: Final = 8


class Changelog(Protocol):
    """What a table needs of its changelog (`streams.engine.changelog.ChangelogReader`)."""

    def bounds(self) -> tuple[int, int]:
        """Give the first offset kept and the offset after the last."""

    def read(self, start: int) -> Iterator[Chunk]:
        """Give everything from an offset to the end, in chunks."""


class RecoveryAbandonedError(Exception):
    """The recovery was told to end early; the next one goes on where it was."""


def check_keys(changes: Mapping[bytes, bytes | None]) -> None:
    """Refuse keys of a stage that a table cannot keep.

    Raises:
        ValueError: a key is no bytes, is empty, or begins with a NUL byte.
    """
    for key in changes:
        if not isinstance(key, bytes) or key < FIRST_KEY:
            raise ValueError(
                f"{key!r} cannot be a key of state: those are bytes, not empty, and do not begin with NUL"
            )


def pack(revision: Revision, value: bytes) -> bytes:
    """Put a value behind its revision.

    Raises:
        ValueError: the offset is below 0; packed revisions are compared as bytes, where that is highest.
    """
    if revision.offset < 0:
        raise ValueError(f"{revision} cannot be written")
    return _REVISION.pack(*revision) + value


def revision_of(packed: bytes) -> Revision:
    """Read the revision before a value."""
    return Revision(*_REVISION.unpack_from(packed))


def epoch_record(epoch: int, settings: Mapping[str, str]) -> bytes:
    """Give the record, under `EPOCH_KEY`, that begins an epoch (milliseconds since 1970)."""
    return pack(Revision(epoch, 0), msgspec.json.encode(settings))


def settings_of_epoch(record: bytes) -> dict[str, str]:
    """Read the settings from the record that begins an epoch; empty if it is of before they were kept."""
    return msgspec.json.decode(record[_REVISION.size :] or b"{}", type=dict[str, str])


class PartitionTable:
    """State by key. Not for use from several threads at once.

    Args:
        path: folder of the local store; made when it is not there.
        changelog: the table's changelog, of this partition.
        memory: that the stores of a process share.
        settings: that the state depends on; they are written down when it begins.
        now_ms: the clock, for a new epoch.
    """

    def __init__(
        self,
        path: Path,
        changelog: Changelog,
        *,
        memory: StoreMemory | None = None,
        settings: Mapping[str, str] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 10**6,
    ) -> None:
        self._path = path
        self._changelog = changelog
        self._memory = memory or StoreMemory()
        self.settings = dict(settings or {})
        self._now_ms = now_ms
        self._store: Rdict = open_store(path, self._memory)
        self._recent = self._memory.recent.values()
        self._unwritten: dict[bytes, bytes | None] = {}
        self._unwritten_bytes = 0
        self._lowest_unwritten: bytes | None = None
        self._oldest = b""
        self._lowest = FIRST_KEY
        self._own_end = NOT_RECOVERED
        self.epoch = 0
        self.new_epoch: bytes | None = None
        """Set when the state began empty: the record to write to the changelog under `EPOCH_KEY`, and have
        acknowledged, before anything else is."""
        self.made_with: Mapping[str, str] = self.settings
        """The settings that the state was made with."""

    def recover(self, is_abandoned: Callable[[], bool] = lambda: False) -> int:
        """Bring the store up to the end of the changelog.

        Args:
            is_abandoned: asked now and then whether to end early.

        Returns:
            the number of changelog records read.

        Raises:
            ChangelogError: the changelog cannot be read.
            RecoveryAbandonedError: it was to end early.
        """
        self._write_out()
        self._recent.clear()
        self._own_end = NOT_RECOVERED
        low, high = self._changelog.bounds()
        position, noted_at = self._position()
        if position > high or position < low:
            log.info("%s: the changelog was made again; reading it from its start", self._path)
            self._wipe()
            position = low
        elif self._now_ms() - noted_at > OLDEST_COPY_MS and not self._is_empty():
            log.info("%s: the local copy is too old; reading the changelog from its start", self._path)
            self._wipe()
            position = low
        epoch_before = self._store.get(EPOCH_KEY)
        count = self._read_from(position, high, is_abandoned)
        if epoch_before is not None and self._store.get(EPOCH_KEY) != epoch_before:
            log.info("%s: the state was begun anew; reading it from its start", self._path)
            self._wipe()
            count += self._read_from(low, high, is_abandoned)
        self._begin_epoch()
        self._own_end = high
        return count

    def get(self, key: bytes) -> bytes | None:
        """Give the value of a key, None if it has none."""
        packed = self._recent.get(key)
        if packed is None:
            packed = self._unwritten[key] if key in self._unwritten else self._store.get(key)
            if packed is not None:
                self._recent.put(key, packed)
        if packed is None or packed[:_EPOCH_BYTES] < self._oldest:
            return None
        return packed[_REVISION.size :] or None

    def keys_below(self, bound: bytes, limit: int) -> list[bytes]:
        """Give the first keys that have a value and are below a bound, in order, at most `limit` (above 0).

        It begins where it last found the first one: from the lowest key on, the store would step over all
        that has been deleted, until it compacts them.
        """
        if self._lowest_unwritten is not None and self._lowest_unwritten < bound:
            self._write_out()
        found: list[bytes] = []
        entries = self._store.iter()
        entries.seek(self._lowest)
        while len(found) < limit and entries.valid() and entries.key() < bound:
            packed = entries.value()
            if packed[:_EPOCH_BYTES] >= self._oldest and len(packed) > _REVISION.size:
                found.append(entries.key())
            entries.next()
        self._lowest = max(self._lowest, found[0] if found else bound)
        return found

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Take over packed values, or deletions, whose changelog records, one each, are acknowledged."""
        self._unwritten.update(changes)
        recent = self._recent
        for key, packed in changes.items():
            if packed is None:
                recent.forget(key)
                self._unwritten_bytes += len(key)
            else:
                recent.put(key, packed)
                self._unwritten_bytes += len(key) + len(packed)
        self._own_end += len(changes)
        if changes and (self._lowest_unwritten is None or min(changes) < self._lowest_unwritten):
            self._lowest_unwritten = min(changes)
        if self._unwritten_bytes > UNWRITTEN_BYTES:
            self._write_out()

    def _write_out(self) -> None:
        if self._unwritten:
            self._write(self._unwritten)
            self._unwritten, self._unwritten_bytes, self._lowest_unwritten = {}, 0, None

    def _write(self, changes: Mapping[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, packed in changes.items():
            if packed is None:
                batch.delete(key)
            else:
                batch.put(key, packed)
                if FIRST_KEY <= key < self._lowest:
                    self._lowest = key
        self._store.write(batch)

    def mark_position(self) -> None:
        """Note that the store holds all of the changelog as it is now; to be called between batches.

        Not if there is more in it than was recovered and written by us: then the partition has had another
        owner without our noticing, and what that one wrote is read at the next recovery.
        """
        if self._changelog.bounds()[1] == self._own_end:
            self._write_out()
            self._note_position(self._own_end)

    def close(self) -> None:
        """Flush and let go of the files."""
        self._write_out()
        self._store.close()

    def _begin_epoch(self) -> None:
        record = self._store.get(EPOCH_KEY)
        if record is None:
            self.epoch, self.made_with = self._now_ms(), self.settings
            self.new_epoch = epoch_record(self.epoch, self.settings)
        else:
            self.epoch, self.new_epoch = revision_of(record).epoch, None
            # What was written before settings were kept may be anything: it was made with none.
            self.made_with = settings_of_epoch(record)
        self._oldest = struct.pack(">Q", self.epoch)

    def _position(self) -> tuple[int, int]:
        """Give the offset that everything is held up to, and when that was noted; 0 and 0 if it never was."""
        stored = self._store.get(POSITION_KEY)
        if stored is None or len(stored) != _POSITION.size:  # as it was before the instant was kept
            return 0, 0
        offset, noted_at = _POSITION.unpack(stored)
        return offset, noted_at

    def _is_empty(self) -> bool:
        entries = self._store.iter()
        entries.seek_to_first()
        return not entries.valid()

    def _note_position(self, offset: int) -> None:
        self._store.put(POSITION_KEY, _POSITION.pack(offset, self._now_ms()))

    def _read_from(self, position: int, high: int, is_abandoned: Callable[[], bool]) -> int:
        count = 0
        epoch_before = self._store.get(EPOCH_KEY)

        def note(offset: int) -> None:
            # Where the state was begun anew, the whole of it is read once more: not from here.
            if epoch_before is None or self._store.get(EPOCH_KEY) == epoch_before:
                self._note_position(offset)

        if position < high:
            for changes, behind in self._changelog.read(position):
                self._put_highest(changes)
                count += len(changes)
                note(behind)
                if is_abandoned():
                    raise RecoveryAbandonedError
        note(high)
        return count

    def _put_highest(self, changes: list[Change]) -> None:
        highest: dict[bytes, bytes | None] = {}
        for key, packed in changes:
            known = highest[key] if key in highest else self._store.get(key)
            # Revisions are big-endian, so they compare as bytes; equal ones are the same state.
            if packed is None or known is None or known[: _REVISION.size] <= packed[: _REVISION.size]:
                highest[key] = packed
        self._write(highest)

    def _wipe(self) -> None:
        self._store.close()
        shutil.rmtree(self._path)
        self._store = open_store(self._path, self._memory)
        self._lowest = FIRST_KEY
