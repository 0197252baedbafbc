"""What was fetched reaches its agents whole and in order, or the worker starts again at what is committed."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.engine import consumer
from streams.engine.batch import Batch
from streams.engine.book import PartitionBook
from streams.engine.consumer import BatchConsumer, Delivery

ASSIGNMENT = object()


class CrashedError(Exception):
    """In place of the process's end."""


@pytest.fixture(autouse=True)
def _no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(reason: str, error: BaseException | None = None) -> None:
        raise CrashedError(reason) from error

    monkeypatch.setattr(consumer, "crash", crash)


def batches(topic: str, start: int, *, assignment: object = ASSIGNMENT) -> Delivery:
    return Delivery(0.0, [Batch(topic, partition, [], start, start + 5, assignment) for partition in (0, 1)])


def fetched(*handed_over: Delivery) -> Any:
    """Give what a consumer knows that has handed deliveries over, all batches of which are in its books."""
    of = SimpleNamespace(
        _undelivered=list(handed_over),
        _assignment_token=ASSIGNMENT,
        _batch_app=SimpleNamespace(forget=lambda *_: None),
        _books={TP(topic, partition): PartitionBook(0) for topic in "tu" for partition in (0, 1)},
    )
    of._forget_from = lambda tp, position: BatchConsumer._forget_from(of, tp, position)
    for delivery in handed_over:
        for batch in delivery.batches:
            assert enter(of, batch)
    return of


def enter(of: Any, batch: Batch) -> bool:
    return BatchConsumer._enter(of, TP(batch.topic, batch.partition), batch)


def delivered(of: Any, delivery: Delivery) -> list[Batch]:
    return BatchConsumer.delivered(of, delivery)


def test_batches_that_come_in_the_order_of_fetching_are_worked_on() -> None:
    first, other_topic, second = batches("t", 0), batches("u", 0), batches("t", 5)
    of = fetched(first, other_topic, second)
    assert [delivered(of, one) for one in (first, second, other_topic)] == [
        one.batches for one in (first, second, other_topic)
    ]
    assert of._undelivered == []


def test_nothing_behind_a_batch_that_was_left_out_is_worked_on() -> None:
    first, second = batches("t", 0), batches("t", 5)
    with pytest.raises(CrashedError, match=r"a batch of t\[0\] from 0 never reached its agent"):
        delivered(fetched(first, second), second)


def test_what_was_fetched_under_an_earlier_assignment_is_left() -> None:
    stale, current = batches("t", 5, assignment=object()), batches("t", 0)
    assert delivered(fetched(current), stale) == []


def test_what_is_fetched_again_is_not_worked_on_from_an_earlier_delivery() -> None:
    first, second = batches("t", 0), batches("t", 5)
    of = fetched(first, second)
    again = Delivery(0.0, [Batch("t", 0, [], 0, 7, ASSIGNMENT)])
    assert enter(of, again.batches[0])
    of._undelivered.append(again)
    # Faust drops nothing of partition 1, and of partition 0 what was fetched before comes nevertheless.
    assert [(b.partition, b.start) for b in delivered(of, first)] == [(1, 0)]
    assert [(b.partition, b.start) for b in delivered(of, second)] == [(1, 5)]
    assert delivered(of, again) == again.batches


def test_a_delivery_of_which_all_is_fetched_again_is_not_expected_any_more() -> None:
    first = Delivery(0.0, [Batch("t", 0, [], 0, 5, ASSIGNMENT)])
    second = Delivery(0.0, [Batch("t", 0, [], 5, 10, ASSIGNMENT)])
    of = fetched(first, second)
    assert enter(of, Batch("t", 0, [], 0, 7, ASSIGNMENT))
    assert of._undelivered == []
    assert delivered(of, second) == []
