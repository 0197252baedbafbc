"""A table is its changelog: whatever local copy it begins with, it ends as the changelog says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.changelog import Change
from streams.engine.table import EPOCH_KEY, PartitionTable, pack
from streams.silver import Revision


class MemoryChangelog:
    """A changelog partition as the broker keeps it."""

    def __init__(self) -> None:
        self.records: list[Change] = []
        self.reads: list[int] = []

    def bounds(self) -> tuple[int, int]:
        return 0, len(self.records)

    def read(self, start: int) -> Iterator[list[Change]]:
        self.reads.append(start)
        yield self.records[start:]

    def write(self, table: PartitionTable, changes: dict[bytes, bytes]) -> None:
        self.records += [Change(*item) for item in changes.items()]
        table.apply(changes)


def opened(path: Path, changelog: MemoryChangelog) -> PartitionTable:
    table = PartitionTable(path, changelog, now_ms=lambda: 7)
    table.recover()
    if table.new_epoch is not None:
        changelog.write(table, {EPOCH_KEY: table.new_epoch})
    return table


def at(offset: int, value: bytes) -> bytes:
    return pack(Revision(7, offset), value)


def test_a_lost_copy_is_made_again_from_the_changelog(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one"), b"l": at(1, b"el")})
    changelog.write(table, {b"k": at(2, b"two"), b"l": at(2, b"")})
    table.close()
    again = opened(tmp_path / "b", changelog)
    assert (again.get(b"k"), again.get(b"l"), again.epoch) == (b"two", None, 7)
    again.close()


def test_a_kept_copy_reads_only_what_came_after(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one")})
    table.mark_position()
    table.close()
    changelog.records.append(Change(b"k", at(5, b"by another worker")))
    again = opened(tmp_path / "a", changelog)
    assert again.get(b"k") == b"by another worker"
    assert changelog.reads[-1] == 2
    again.close()


def test_a_copy_of_topics_that_were_made_again_is_thrown_away(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one")})
    table.mark_position()
    table.close()
    again = opened(tmp_path / "a", MemoryChangelog())
    assert again.get(b"k") is None
    again.close()


def test_a_stale_workers_late_write_does_not_win(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(9, b"new")})
    table.close()
    changelog.records.append(Change(b"k", at(4, b"stale")))
    for path in ("a", "b"):
        again = opened(tmp_path / path, changelog)
        assert again.get(b"k") == b"new"
        again.close()


def test_a_changelog_that_cannot_be_read_is_not_swallowed(tmp_path: Path) -> None:
    class Broken(MemoryChangelog):
        def read(self, start: int) -> Iterator[list[Change]]:
            raise OSError(f"at {start}")

    changelog = Broken()
    changelog.records.append(Change(b"k", at(1, b"one")))
    table = PartitionTable(tmp_path / "a", changelog)
    with pytest.raises(OSError, match="at 0"):
        table.recover()
    table.close()


@given(
    writes=st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 20)), max_size=30),
    marked=st.integers(0, 30),
)
def test_recovery_keeps_the_highest_revision_of_each_key(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[bytes, int]], marked: int
) -> None:
    changelog, path = MemoryChangelog(), tmp_path_factory.mktemp("table")
    table = opened(path, changelog)
    for i, (key, offset) in enumerate(writes):
        record = Change(key, at(offset, b"%d" % offset))
        changelog.records.append(record)
        if i == marked:
            table.recover()
    table.recover()
    for key in {key for key, _ in writes}:
        assert table.get(key) == b"%d" % max(offset for k, offset in writes if k == key)
    table.close()
