"""A worker that is alive and stuck is told from one that waits for records, or works."""

from types import SimpleNamespace
from typing import Any

from faust.types import TP

from streams.engine.book import PartitionBook
from streams.engine.consumer import BatchConsumer

PLACE = TP("t", 0)


def consumer(position: int) -> tuple[Any, PartitionBook]:
    book = PartitionBook(position)
    return SimpleNamespace(_books={PLACE: book}, _standing={}), book


def stuck_since(of: Any, ends: dict[Any, int], now: float, fetched: int = 10) -> float | None:
    return BatchConsumer.stuck_since(of, ends, {PLACE: fetched}, now)


def test_a_partition_with_records_and_no_progress_is_stuck_since_it_was_first_seen_so() -> None:
    watched, _ = consumer(10)
    assert [stuck_since(watched, {PLACE: 15}, now) for now in (100.0, 110.0, 120.0)] == [100.0] * 3


def test_any_progress_begins_the_wait_anew() -> None:
    watched, book = consumer(10)
    stuck_since(watched, {PLACE: 15}, 100.0)
    book.fetched(10, 12)
    book.done(10, 12)
    assert stuck_since(watched, {PLACE: 15}, 110.0) == 110.0


def test_a_partition_that_is_through_or_of_which_nothing_is_known_is_not_stuck() -> None:
    watched, _ = consumer(15)
    assert stuck_since(watched, {PLACE: 15}, 100.0, fetched=15) is None
    assert stuck_since(watched, {}, 100.0) is None


def test_transaction_markers_behind_the_last_record_are_no_standstill() -> None:
    watched, book = consumer(10)
    assert stuck_since(watched, {PLACE: 12}, 100.0, fetched=12) is None
    book.fetched(10, 12)  # but a batch that was fetched and is not done is one
    assert stuck_since(watched, {PLACE: 12}, 100.0, fetched=12) == 100.0


def fetch_position(book: PartitionBook, fetched: int, handed_over: int) -> int:
    class Assignment:
        def state_value(self, place: TP) -> Any:
            return SimpleNamespace(position=fetched, has_valid_position=True) if place == PLACE else None

    subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=Assignment()))
    thread = SimpleNamespace(
        _ensure_consumer=lambda: SimpleNamespace(_subscription=subscription),
        handed_over={PLACE: handed_over},
    )
    of: Any = SimpleNamespace(_thread=thread, _books={PLACE: book})
    return BatchConsumer.fetch_positions(of)[PLACE]


def test_a_batch_that_vanished_at_the_very_end_of_the_log_is_seen_though_nothing_comes_behind_it() -> None:
    watched, book = consumer(10)
    book.fetched(10, 12)
    book.done(10, 12)
    fetched = fetch_position(book, fetched=15, handed_over=15)  # 12 to 15 never came into the book
    assert fetched == 12
    assert stuck_since(watched, {PLACE: 15}, 100.0, fetched=fetched) == 100.0


def test_a_fetch_that_has_only_passed_markers_has_lost_nothing() -> None:
    watched, book = consumer(10)
    book.fetched(10, 12)
    book.done(10, 12)
    fetched = fetch_position(book, fetched=15, handed_over=12)
    assert fetched == 15
    assert stuck_since(watched, {PLACE: 15}, 100.0, fetched=fetched) is None


def test_a_log_that_ends_before_what_is_done_is_a_standstill() -> None:
    watched, _ = consumer(10)
    assert stuck_since(watched, {PLACE: 9}, 100.0, fetched=10) == 100.0
    assert stuck_since(watched, {PLACE: 10}, 110.0, fetched=10) is None
