"""What was fetched reaches its agents whole and in order, or the worker starts again at what is committed."""

from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine import consumer
from streams.engine.batch import Batch
from streams.engine.consumer import BatchConsumer

ASSIGNMENT = object()


class CrashedError(Exception):
    """In place of the process's end."""


@pytest.fixture(autouse=True)
def _no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(reason: str, error: BaseException | None = None) -> None:
        raise CrashedError(reason) from error

    monkeypatch.setattr(consumer, "crash", crash)


def batches(topic: str, start: int, *, assignment: object = ASSIGNMENT) -> list[Batch]:
    return [Batch(topic, partition, [], start, start + 5, assignment) for partition in (0, 1)]


def fetched(*handed_over: list[Batch]) -> Any:
    undelivered = {id(group): (0.0, group) for group in handed_over}
    return SimpleNamespace(_undelivered=undelivered, _assignment_token=ASSIGNMENT)


def delivered(of: Any, group: list[Batch]) -> list[Batch]:
    return BatchConsumer.delivered(of, group)


def test_batches_that_come_in_the_order_of_fetching_are_worked_on() -> None:
    first, other_topic, second = batches("t", 0), batches("u", 0), batches("t", 5)
    of = fetched(first, other_topic, second)
    assert [delivered(of, group) for group in (first, second, other_topic)] == [first, second, other_topic]
    assert of._undelivered == {}


def test_nothing_behind_a_batch_that_was_left_out_is_worked_on() -> None:
    first, second = batches("t", 0), batches("t", 5)
    with pytest.raises(CrashedError, match=r"a batch of t\[0\] from 0 never reached its agent"):
        delivered(fetched(first, second), second)


def test_what_was_fetched_under_an_earlier_assignment_is_left() -> None:
    stale, current = batches("t", 0, assignment=object()), batches("t", 5)
    assert delivered(fetched(current), stale) == []
