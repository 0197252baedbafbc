"""The book commits only what is done without holes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.book import HoleError, PartitionBook


def test_batches_done_out_of_order_wait_for_the_first() -> None:
    book = PartitionBook(100)
    book.fetched(100, 110)
    book.fetched(110, 125)
    book.done(110, 125)
    assert book.position == 100
    book.done(100, 110)
    assert (book.position, book.in_flight) == (125, 0)


def test_a_batch_that_begins_behind_the_last_is_a_hole() -> None:
    book = PartitionBook(100)
    book.fetched(100, 110)
    with pytest.raises(HoleError, match="expected offset 110, got 111"):
        book.fetched(111, 120)


def test_gaps_between_record_offsets_are_no_holes_because_positions_are_chained() -> None:
    book = PartitionBook(0)
    book.fetched(0, 7)
    book.done(0, 7)
    assert book.position == 7


def test_after_a_seek_back_what_was_not_done_comes_again() -> None:
    book = PartitionBook(0)
    book.fetched(0, 10)
    book.fetched(10, 20)
    book.done(0, 10)
    assert book.fetched(10, 15)  # went back
    book.done(10, 13)  # part of it only
    assert book.position == 10
    book.done(10, 15)
    assert book.position == 15


def test_what_is_done_of_a_fetch_before_a_seek_back_is_done() -> None:
    book = PartitionBook(0)
    book.fetched(0, 20)
    assert book.fetched(0, 15)  # went back while the first was in work
    book.done(0, 20)
    assert book.position == 15  # no further than what is in the book
    book.fetched(15, 25)
    book.done(0, 20)
    assert book.position == 15


def test_batches_that_were_joined_are_done_together() -> None:
    book = PartitionBook(0)
    for start in (0, 10, 20):
        book.fetched(start, start + 10)
    book.done(10, 30)
    assert book.position == 0
    book.done(0, 10)
    assert (book.position, book.in_flight) == (30, 0)


def test_a_seek_back_behind_what_is_done_does_not_take_it_back() -> None:
    book = PartitionBook(0)
    book.fetched(0, 10)
    book.done(0, 10)
    book.fetched(5, 20)
    assert book.position == 10
    book.done(5, 20)
    assert book.position == 20


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30), data=st.data())
def test_in_any_order_of_completion_the_position_is_the_end_of_the_done_prefix(
    sizes: list[int], data: st.DataObject
) -> None:
    book, starts = PartitionBook(0), [0]
    for size in sizes:
        book.fetched(starts[-1], starts[-1] + size)
        starts.append(starts[-1] + size)
    done: set[int] = set()
    for i in data.draw(st.permutations(range(len(sizes)))):
        book.done(starts[i], starts[i + 1])
        done.add(i)
        prefix = next((n for n in range(len(sizes)) if n not in done), len(sizes))
        assert book.position == starts[prefix]


def test_what_is_done_or_struck_out_takes_no_memory_any_more() -> None:
    book = PartitionBook(0)
    book.fetched(0, 10, size=1_000)
    book.fetched(10, 20, size=500)
    assert book.bytes_in_flight == 1_500
    book.done(10, 20)
    assert book.bytes_in_flight == 1_500  # it waits for the first
    book.fetched(10, 15, size=200)  # went back
    assert book.bytes_in_flight == 1_200
    book.done(0, 10)
    assert book.bytes_in_flight == 200
