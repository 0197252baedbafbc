"""The lowest keys of a table, of which many are deleted: found at once, and none is left out."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.changelog import Chunk
from streams.engine.table import PartitionTable, pack
from streams.silver import Revision

VALUE = pack(Revision(7, 0), b"v")
KEYS = [b"%c" % letter for letter in range(ord("a"), ord("h"))]


class NoRecords:
    """A changelog that nothing is read from."""

    def bounds(self) -> tuple[int, int]:
        return 0, 0

    def read(self, start: int) -> Iterator[Chunk]:
        raise AssertionError(start)


def opened(path: Path) -> PartitionTable:
    table = PartitionTable(path, NoRecords(), now_ms=lambda: 7)
    table.recover()
    return table


@given(
    steps=st.lists(
        st.tuples(st.sets(st.sampled_from(KEYS)), st.sets(st.sampled_from(KEYS)), st.sampled_from(KEYS)),
        max_size=12,
    ),
    limit=st.integers(1, 4),
)
def test_whatever_is_written_and_deleted_in_between_the_lowest_keys_are_given(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[set[bytes], set[bytes], bytes]], limit: int
) -> None:
    table, there = opened(tmp_path_factory.mktemp("table")), set[bytes]()
    for written, deleted, bound in steps:
        table.apply(dict.fromkeys(written, VALUE))
        table.apply(dict.fromkeys(deleted))
        there = (there | written) - deleted
        wanted = sorted(key for key in there if key < bound)[:limit]
        assert table.keys_below(bound, limit) == wanted
        assert table.keys_below(bound, limit) == wanted  # what is not deleted is given again
    table.close()


def test_it_takes_as_long_after_many_deletions_as_before(tmp_path: Path) -> None:
    table = opened(tmp_path)
    keys = [b"k%06d" % number for number in range(60_000)]
    table.apply(dict.fromkeys(keys, VALUE))
    seconds = []
    for start, end in pairwise(range(0, 60_001, 500)):
        began = time.thread_time()
        assert table.keys_below(b"l", 500) == keys[start:end]
        seconds.append(time.thread_time() - began)
        table.apply(dict.fromkeys(keys[start:end]))
    table.close()
    # Medians: the machine may do other things. Before the start was remembered it was 20 times as long.
    assert sorted(seconds[-11:])[5] < 5 * sorted(seconds[:11])[5]
