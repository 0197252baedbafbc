"""The flood rule: more than half of at least 200 consecutive records of a partition, in any batches."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.clean.flood import FLOOD_RECORDS, Flood, FloodWatch, find_flood
from processors.outcomes import Refusal
from streams.dead_letters import FieldError, Reason

BROKEN = Refusal(Reason.NOT_JSON, [FieldError("$", "ends in the middle (byte 1)")])
OTHER = Refusal(Reason.MISSING_FIELD, [FieldError("$.order_id", "required")])
RIGHT = None


def feed(watch: FloodWatch, outcomes: Iterable[object], size: int, start: int = 0) -> int | None:
    """Add outcomes in batches of a size; give the offset at which the batch begins that completes a flood."""
    outcomes = list(outcomes)
    for at in range(0, len(outcomes), size):
        batch = outcomes[at : at + size]
        if watch.add(0, start + at, start + at + len(batch), batch):
            return start + at
    return None


@pytest.mark.parametrize("size", [1, 7, 50, 199, 1000])
def test_more_than_half_of_two_hundred_is_a_flood_whatever_the_batches(size: int) -> None:
    outcomes = [RIGHT, BROKEN] * 99 + [BROKEN, BROKEN]
    assert feed(FloodWatch(), outcomes[:-1], size) is None
    assert feed(FloodWatch(), outcomes, size) == (199 // size) * size


def test_a_little_less_than_half_is_no_flood_however_long() -> None:
    assert feed(FloodWatch(), ([RIGHT, BROKEN] * 50 + [RIGHT]) * 100, 100) is None


def test_a_flood_may_be_completed_by_a_right_record() -> None:
    assert feed(FloodWatch(), [BROKEN] * 101 + [RIGHT] * 99, 1) == 199


def test_fewer_than_two_hundred_broken_records_alone_are_no_flood() -> None:
    assert feed(FloodWatch(), [BROKEN] * 199, 10) is None
    assert feed(FloodWatch(), [BROKEN] * 200, 10) == 190


def test_a_flood_after_a_long_good_time_is_seen_at_once() -> None:
    assert feed(FloodWatch(), [RIGHT] * 10_000 + [BROKEN] * 101, 1) == 10_100


def test_a_batch_that_completes_a_flood_is_not_remembered() -> None:
    watch = FloodWatch()
    assert feed(watch, [BROKEN] * 150, 150) is None
    assert watch.add(0, 150, 250, [BROKEN] * 100)
    assert watch.add(0, 150, 199, [BROKEN] * 49) is None  # what was tried is not counted


def test_partitions_are_counted_apart() -> None:
    watch = FloodWatch()
    for partition in range(4):
        assert watch.add(partition, 0, 150, [BROKEN] * 150) is None


def test_records_that_come_again_after_a_rebalance_are_not_counted_twice() -> None:
    watch = FloodWatch()
    assert watch.add(0, 0, 150, [BROKEN] * 150) is None
    assert watch.add(0, 0, 150, [BROKEN] * 150) is None
    assert watch.add(0, 500, 650, [BROKEN] * 150) is None  # others were worked on elsewhere


def test_the_message_names_the_commonest_reason_with_an_example_from_the_whole_stretch() -> None:
    watch = FloodWatch()
    assert watch.add(0, 0, 150, [OTHER] * 150) is None
    flood = watch.add(0, 150, 200, [BROKEN] * 50)
    assert flood == Flood(200, 200, Reason.MISSING_FIELD, FieldError("$.order_id", "required"))
    assert (
        "200 of 200 consecutive records are broken, most with missing_field (for example $.order_id"
        in str(flood)
    )


def any_stretch(broken: list[bool]) -> bool:
    """The rule in so many words, for comparison."""
    return any(
        2 * sum(broken[begin:end]) > end - begin
        for begin, end in itertools.combinations(range(len(broken) + 1), 2)
        if end - begin >= FLOOD_RECORDS
    )


@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 150)), max_size=6),
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=5),
)
def test_any_batching_finds_a_flood_exactly_if_there_is_such_a_stretch(
    runs: list[tuple[bool, int]], sizes: list[int]
) -> None:
    broken = [each for each, length in runs for _ in range(length)]
    watch, at, found = FloodWatch(), 0, False
    for size in itertools.cycle(sizes):
        if at >= len(broken) or found:
            break
        batch = [BROKEN if each else RIGHT for each in broken[at : at + size]]
        found = watch.add(0, at, at + len(batch), batch) is not None
        at += len(batch)
    assert found == any_stretch(broken[:at])
    assert found == (
        find_flood([(Reason.NOT_JSON, BROKEN.errors[0]) if b else None for b in broken[:at]]) is not None
    )
