"""The state of one partition of one stage: a local store that a changelog can always make again.

Each value is kept, in the store as in the changelog, behind its revision. Recovery keeps the highest revision
of a key, so what a stale worker wrote late does not win; a key without state keeps its revision. The store
remembers up to which changelog offset it holds everything, so a restart reads only what came after. It can be
deleted at any time.
"""

import logging
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from rocksdict import Options, Rdict, WriteBatch

from streams.engine.changelog import Change
from streams.silver import Revision

log = logging.getLogger(__name__)

EPOCH_KEY = b"\x00epoch"
POSITION_KEY = b"\x00position"
_REVISION = struct.Struct(">Qq")


class Changelog(Protocol):
    """What a table needs of its changelog (`streams.engine.changelog.ChangelogReader`)."""

    def bounds(self) -> tuple[int, int]:
        """Give the first offset kept and the offset after the last."""

    def read(self, start: int) -> Iterator[list[Change]]:
        """Give everything from an offset to the end, in chunks."""


def pack(revision: Revision, value: bytes) -> bytes:
    """Put a value behind its revision."""
    return _REVISION.pack(*revision) + value


def revision_of(packed: bytes) -> Revision:
    """Read the revision before a value."""
    return Revision(*_REVISION.unpack_from(packed))


class PartitionTable:
    """State by key. Not for use from several threads at once.

    Args:
        path: folder of the local store; made when it is not there.
        changelog: the table's changelog, of this partition.
        now_ms: the clock, for a new epoch.
    """

    def __init__(
        self, path: Path, changelog: Changelog, now_ms: Callable[[], int] = lambda: time.time_ns() // 10**6
    ) -> None:
        self._path = path
        self._changelog = changelog
        self._now_ms = now_ms
        self._store = _open_store(path)
        self.epoch = 0
        self.new_epoch: bytes | None = None
        """Set when the state began empty: the record to write to the changelog under `EPOCH_KEY`, and have
        acknowledged, before anything else is."""

    def recover(self) -> int:
        """Bring the store up to the end of the changelog.

        Returns:
            the number of changelog records read.

        Raises:
            ChangelogError: the changelog cannot be read.
        """
        low, high = self._changelog.bounds()
        position = self._position()
        if position > high or position < low:
            # The changelog was made again, or has been compacted past what this copy had seen.
            log.info("%s: the local copy does not fit the changelog; reading it from its start", self._path)
            self._wipe()
            position = low
        count = 0
        if position < high:
            for chunk in self._changelog.read(position):
                self._put_highest(chunk)
                count += len(chunk)
            self._store.put(POSITION_KEY, struct.pack(">q", high))
        epoch = self._store.get(EPOCH_KEY)
        if epoch is None:
            self.epoch = self._now_ms()
            self.new_epoch = pack(Revision(self.epoch, 0), b"")
        else:
            self.epoch, self.new_epoch = revision_of(epoch).epoch, None
        return count

    def get(self, key: bytes) -> bytes | None:
        """Give the value of a key, None if it has none."""
        packed = self._store.get(key)
        return packed[_REVISION.size :] or None if packed is not None else None

    def apply(self, changes: Mapping[bytes, bytes]) -> None:
        """Take over packed values whose changelog records are acknowledged."""
        batch = WriteBatch(raw_mode=True)
        for key, packed in changes.items():
            batch.put(key, packed)
        self._store.write(batch)

    def mark_position(self) -> None:
        """Note that the store holds all of the changelog as it is now.

        To be called by the partition's owner when everything it wrote is acknowledged and applied.
        """
        self._store.put(POSITION_KEY, struct.pack(">q", self._changelog.bounds()[1]))

    def close(self) -> None:
        """Flush and let go of the files."""
        self._store.close()

    def _position(self) -> int:
        stored = self._store.get(POSITION_KEY)
        return struct.unpack(">q", stored)[0] if stored is not None else 0

    def _put_highest(self, chunk: list[Change]) -> None:
        highest: dict[bytes, bytes] = {}
        for key, packed in chunk:
            known = highest.get(key)
            if known is None:
                known = self._store.get(key)
            # Revisions are big-endian, so they compare as bytes; equal ones are the same state.
            if known is None or known[: _REVISION.size] <= packed[: _REVISION.size]:
                highest[key] = packed
        self.apply(highest)

    def _wipe(self) -> None:
        self._store.close()
        shutil.rmtree(self._path)
        self._store = _open_store(self._path)


def _open_store(path: Path) -> Rdict:
    path.mkdir(parents=True, exist_ok=True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    # Many small stores in one process: bound what each holds in memory.
    options.set_write_buffer_size(4 * 1024 * 1024)
    options.set_max_write_buffer_number(2)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(1)
    options.set_max_log_file_size(1024 * 1024)
    return Rdict(str(path), options)
