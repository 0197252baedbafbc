"""A table is its changelog: whatever local copy it begins with, it ends as the changelog says."""

import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.changelog import Change, Chunk
from streams.engine.crash import OperatorError
from streams.engine.runner import check_settings
from streams.engine.store import StoreMemory, open_store
from streams.engine.table import (
    EPOCH_KEY,
    OLDEST_COPY_MS,
    UNWRITTEN_BYTES,
    PartitionTable,
    RecoveryAbandonedError,
    check_keys,
    epoch_record,
    pack,
)
from streams.silver import Revision


class MemoryChangelog:
    """A changelog partition as the broker keeps it."""

    def __init__(self) -> None:
        self.records: list[Change] = []
        self.reads: list[int] = []

    def bounds(self) -> tuple[int, int]:
        return 0, len(self.records)

    def read(self, start: int) -> Iterator[Chunk]:
        self.reads.append(start)
        yield Chunk(self.records[start:], len(self.records))

    def write(self, table: PartitionTable, changes: dict[bytes, bytes | None]) -> None:
        self.records += [Change(*item) for item in changes.items()]
        table.apply(changes)


def opened(path: Path, changelog: MemoryChangelog, **settings: str) -> PartitionTable:
    table = PartitionTable(path, changelog, settings=settings, now_ms=lambda: 7)
    table.recover()
    if table.new_epoch is not None:
        changelog.write(table, {EPOCH_KEY: table.new_epoch})
    return table


def at(offset: int, value: bytes) -> bytes:
    return pack(Revision(7, offset), value)


def test_a_value_that_was_just_used_does_not_outlive_what_another_owner_wrote(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one"), b"l": at(1, b"el")})
    assert (table.get(b"k"), table.get(b"l")) == (b"one", b"el")
    other = opened(tmp_path / "b", changelog)
    changelog.write(other, {b"k": at(2, b"two"), b"l": None})
    table.recover()
    assert (table.get(b"k"), table.get(b"l")) == (b"two", None)
    table.close()
    other.close()


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
        def read(self, start: int) -> Iterator[Chunk]:
            raise OSError(f"at {start}")

    changelog = Broken()
    changelog.records.append(Change(b"k", at(1, b"one")))
    table = PartitionTable(tmp_path / "a", changelog)
    with pytest.raises(OSError, match="at 0"):
        table.recover()
    table.close()


def test_a_position_is_not_marked_over_what_another_owner_wrote_meanwhile(tmp_path: Path) -> None:
    """A worker that was stopped for a while has not noticed yet that the partition went to another one."""
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one")})
    changelog.records.append(Change(b"k", at(5, b"by another worker")))
    table.mark_position()
    table.recover()
    assert table.get(b"k") == b"by another worker"
    changelog.write(table, {b"l": at(6, b"el")})
    table.mark_position()
    table.close()
    changelog.reads.clear()
    opened(tmp_path / "a", changelog).close()
    assert changelog.reads == []


class InChunks(MemoryChangelog):
    """One that gives a record at a time."""

    def read(self, start: int) -> Iterator[Chunk]:
        self.reads.append(start)
        for offset in range(start, len(self.records)):
            yield Chunk([self.records[offset]], offset + 1)


def test_a_recovery_that_is_abandoned_goes_on_where_it_was(tmp_path: Path) -> None:
    changelog = InChunks()
    writer = opened(tmp_path / "a", changelog)
    for number in range(9):
        changelog.write(writer, {b"k%d" % number: at(number, b"v")})
    writer.close()
    table = PartitionTable(tmp_path / "b", changelog, now_ms=lambda: 7)
    answers = iter([False, False, False, True])
    with pytest.raises(RecoveryAbandonedError):
        table.recover(lambda: next(answers))
    table.close()
    changelog.reads.clear()
    again = opened(tmp_path / "b", changelog)
    assert changelog.reads == [4]
    assert [again.get(b"k%d" % number) for number in range(9)] == [b"v"] * 9
    again.close()


def test_an_abandoned_recovery_of_a_state_begun_anew_reads_all_of_it(tmp_path: Path) -> None:
    changelog = InChunks()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"old"), b"only-old": at(1, b"old")})
    table.mark_position()
    table.close()
    changelog.records.append(Change(EPOCH_KEY, epoch_record(8, {})))
    changelog.records += [Change(b"k", pack(Revision(8, n), b"new")) for n in range(3)]
    table = PartitionTable(tmp_path / "a", changelog, now_ms=lambda: 7)
    answers = iter([False, True])
    with pytest.raises(RecoveryAbandonedError):
        table.recover(lambda: next(answers))
    table.close()
    table = PartitionTable(tmp_path / "a", changelog, now_ms=lambda: 7)
    table.recover()
    assert table.epoch == 8
    assert (table.get(b"k"), table.get(b"only-old")) == (b"new", None)
    table.close()


def test_a_position_is_not_marked_over_what_an_abandoned_recovery_has_not_read(tmp_path: Path) -> None:
    """The copy is thrown away for its age and read anew, in a process that had read all of it before."""
    changelog = InChunks()
    now = 7
    table = PartitionTable(tmp_path / "a", changelog, now_ms=lambda: now)
    table.recover()
    assert table.new_epoch is not None
    changelog.write(table, {EPOCH_KEY: table.new_epoch, b"k": at(1, b"one"), b"l": at(1, b"el")})
    table.mark_position()
    now += OLDEST_COPY_MS + 1
    with pytest.raises(RecoveryAbandonedError):
        table.recover(lambda: True)
    table.mark_position()
    table.recover()
    assert (table.get(b"k"), table.get(b"l")) == (b"one", b"el")
    table.close()


def test_a_copy_that_was_away_for_long_does_not_bring_back_what_was_deleted_for_good(tmp_path: Path) -> None:
    """The brokers forget a deletion, together with what was deleted, after some time."""
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one"), b"l": at(1, b"el")})
    table.mark_position()
    table.close()
    # Another owner deletes k; compaction leaves l's record, and neither k's nor its deletion.
    changelog.records = [record for record in changelog.records if record.key != b"k"]
    changelog.records += [changelog.records[-1]] * 2
    for age, held in ((OLDEST_COPY_MS, b"one"), (OLDEST_COPY_MS + 1, None)):
        shutil.copytree(tmp_path / "a", tmp_path / f"{age}")
        again = PartitionTable(tmp_path / f"{age}", changelog, now_ms=partial(int, 7 + age))
        again.recover()
        assert (again.get(b"k"), again.get(b"l")) == (held, b"el")
        again.close()


@pytest.mark.parametrize("key", ["text", b"", b"\x00epoch", None, 7])
def test_keys_that_a_table_cannot_keep_are_refused_before_anything_is_sent(key: Any) -> None:
    with pytest.raises(ValueError, match="cannot be a key of state"):
        check_keys({b"good": b"", key: b""})


def test_a_revision_below_0_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        pack(Revision(7, -1), b"")


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


def test_keys_below_a_bound_come_in_order_and_only_those_with_state(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    values = {b"d": b"1", b"a": b"1", b"c": b"1", b"b": b""}
    changelog.write(table, {key: at(1, value) for key, value in values.items()})
    assert table.keys_below(b"d", 10) == [b"a", b"c"]
    assert table.keys_below(b"d", 1) == [b"a"]
    assert table.keys_below(b"\x01", 10) == []
    table.close()


def test_an_expired_key_is_gone_from_the_store_and_from_every_copy(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one"), b"l": at(1, b"el")})
    changelog.write(table, {b"k": None})
    table.close()
    for path in ("a", "b"):
        again = opened(tmp_path / path, changelog)
        assert (again.get(b"k"), again.get(b"l"), again.keys_below(b"z", 9)) == (None, b"el", [b"l"])
        again.close()


def test_a_key_that_is_used_again_after_it_has_expired_has_its_new_state(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(9, b"old")})
    changelog.write(table, {b"k": None})
    changelog.write(table, {b"k": at(10, b"new")})
    table.close()
    again = opened(tmp_path / "b", changelog)
    assert again.get(b"k") == b"new"
    again.close()


@pytest.mark.parametrize("copy", ["kept", "lost"])
def test_what_was_written_before_an_epoch_is_not_seen_in_it(tmp_path: Path, copy: str) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "kept", changelog)
    changelog.write(table, {b"old": at(1, b"1"), b"both": at(1, b"1")})
    table.mark_position()
    table.close()
    rebuilt = Change(b"both", pack(Revision(8, 0), b"2"))
    changelog.records += [rebuilt, Change(EPOCH_KEY, epoch_record(8, {}))]
    again = opened(tmp_path / copy, changelog)
    assert (again.get(b"old"), again.get(b"both"), again.epoch) == (None, b"2", 8)
    assert again.keys_below(b"z", 9) == [b"both"]
    changelog.records.append(Change(b"old", at(99, b"by a stale worker")))
    again.recover()
    assert again.get(b"old") is None
    again.close()


def test_a_state_says_which_settings_it_was_made_with(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    opened(tmp_path / "a", changelog, gap="30").close()
    again = opened(tmp_path / "b", changelog, gap="20")
    assert again.made_with == {"gap": "30"}
    with pytest.raises(OperatorError, match=r"gap is 20, the state was made with 30\. .*again with `x`"):
        check_settings(again, " with `x`")
    again.close()
    same = opened(tmp_path / "c", changelog, gap="30")
    check_settings(same, "")
    same.close()


def test_a_state_from_before_settings_were_kept_is_refused(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    changelog.records.append(Change(EPOCH_KEY, at(0, b"")))
    table = opened(tmp_path / "a", changelog, gap="30")
    with pytest.raises(OperatorError, match="gap is 30, the state was made with none"):
        check_settings(table, "")
    table.close()


def test_all_stores_of_a_process_stay_within_one_bound_of_memory(tmp_path: Path) -> None:
    memory = StoreMemory(8 * 1024 * 1024)
    stores = [open_store(tmp_path / str(n), memory) for n in range(12)]
    for number in range(4_000):
        for store in stores:
            store.put(b"%d" % number, os.urandom(500))
    deadline = time.monotonic() + 20  # what is being flushed comes on top
    while memory.used_bytes > 10 * 1024 * 1024:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for store in stores:
        store.close()


def test_what_is_held_back_from_the_store_is_seen_all_the_same(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one"), b"l": at(1, b"el"), b"m": at(1, b"em")})
    table.mark_position()
    changelog.write(table, {b"k": at(2, b"two"), b"l": None, b"m": at(2, b"")})
    for _ in range(2):
        assert [table.get(key) for key in (b"k", b"l", b"m")] == [b"two", None, None]
        table._recent.clear()
    assert table.keys_below(b"z", 9) == [b"k"]
    table.close()


def test_a_store_that_was_killed_with_values_held_back_reads_them_from_the_changelog(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    changelog.write(table, {b"k": at(1, b"one"), b"l": at(1, b"el")})
    table.mark_position()
    changelog.write(table, {b"k": at(2, b"two"), b"l": None})
    shutil.copytree(tmp_path / "a", tmp_path / "as it was")
    table.close()
    again = opened(tmp_path / "as it was", changelog)
    assert (again.get(b"k"), again.get(b"l")) == (b"two", None)
    assert changelog.reads[-1] == 3
    again.close()


def test_a_table_holds_back_no_more_than_a_bound(tmp_path: Path) -> None:
    changelog = MemoryChangelog()
    table = opened(tmp_path / "a", changelog)
    for offset in range(4):
        changelog.write(table, {b"k%d" % offset: at(offset, bytes(UNWRITTEN_BYTES // 2))})
        assert sum(map(len, table._unwritten.values())) <= UNWRITTEN_BYTES + 100
    table.close()
