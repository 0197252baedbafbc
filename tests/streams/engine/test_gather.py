"""Groups of batches grow with the load by themselves, and keep the order within a partition."""

from collections import Counter
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.batch import Batch
from streams.engine.gather import FULL_RECORDS, MOST_RECORDS, SPACING_SECONDS, Gathering, joined

clock = count(step=SPACING_SECONDS).__next__
"""Time passes between any two looks at it."""


def batch(partition: int, start: int, size: int) -> Batch:
    records: Any = [(partition, start + number) for number in range(size)]
    return Batch("t", partition, records, start, start + size, None)


def always(_partition: int) -> bool:
    return True


def spans(group: list[Batch]) -> list[tuple[int, int, int]]:
    return [(one.partition, one.start, one.next) for one in group]


def test_what_waits_goes_at_once_when_nothing_is_in_work() -> None:
    gathering = Gathering()
    gathering.add([batch(0, 0, 1), batch(3, 7, 2)])
    assert spans(gathering.take(always, clock())) == [(0, 0, 1), (3, 7, 9)]
    assert gathering.take(always, clock()) == []


def test_while_something_is_in_work_more_is_gathered() -> None:
    gathering = Gathering()
    gathering.add([batch(0, 0, 1)])
    first = gathering.take(always, clock())
    gathering.add([batch(0, 1, 1), batch(1, 0, 1)])
    gathering.add([batch(0, 2, 1)])
    assert gathering.take(always, clock()) == []
    gathering.finished(first)
    assert spans(gathering.take(always, clock())) == [(0, 1, 3), (1, 0, 1)]


def test_small_groups_do_not_follow_each_other_closely_and_a_full_one_may() -> None:
    gathering = Gathering()
    gathering.add([batch(0, 0, 1)])
    gathering.finished(gathering.take(always, 50.0))
    assert gathering.due_at == 50.0 + SPACING_SECONDS
    assert not gathering.waits
    gathering.add([batch(0, 1, 1)])
    assert gathering.waits
    assert gathering.take(always, 50.0 + SPACING_SECONDS / 2) == []
    gathering.add([batch(0, 2, FULL_RECORDS)])
    group = gathering.take(always, 50.0 + SPACING_SECONDS / 2)
    assert spans(group) == [(0, 1, FULL_RECORDS + 2)]
    assert not gathering.waits
    gathering.finished(group)
    gathering.add([batch(0, FULL_RECORDS + 2, 1)])
    assert spans(gathering.take(always, gathering.due_at)) == [(0, FULL_RECORDS + 2, FULL_RECORDS + 3)]


def test_a_full_group_does_not_wait_for_others() -> None:
    gathering = Gathering()
    gathering.add([batch(0, 0, 1)])
    gathering.take(always, clock())
    gathering.add([batch(0, 1, FULL_RECORDS), batch(1, 0, FULL_RECORDS - 1)])
    assert gathering.take(always, clock()) == []  # of partitions that are free, one record less
    gathering.add([batch(2, 0, 1)])
    assert spans(gathering.take(always, clock())) == [(1, 0, FULL_RECORDS - 1), (2, 0, 1)]


def test_a_group_has_an_upper_bound_but_takes_a_larger_batch_alone() -> None:
    gathering = Gathering()
    gathering.add([batch(0, 0, MOST_RECORDS - 1), batch(0, MOST_RECORDS - 1, 2), batch(1, 0, 1)])
    group = gathering.take(always, clock())
    assert spans(group) == [(0, 0, MOST_RECORDS - 1), (1, 0, 1)]
    gathering.finished(group)
    gathering.add([batch(0, MOST_RECORDS + 1, 2 * MOST_RECORDS)])
    group = gathering.take(always, clock())
    assert spans(group) == [(0, MOST_RECORDS - 1, MOST_RECORDS + 1)]
    gathering.finished(group)
    assert spans(gathering.take(always, clock())) == [(0, MOST_RECORDS + 1, 3 * MOST_RECORDS + 1)]


def test_a_partition_that_is_not_ready_waits_and_holds_nobody_up() -> None:
    gathering = Gathering()
    gathering.add([batch(0, 0, 1), batch(1, 0, 1)])
    group = gathering.take(lambda partition: partition == 1, clock())
    assert spans(group) == [(1, 0, 1)]
    gathering.finished(group)
    assert spans(gathering.take(always, clock())) == [(0, 0, 1)]


def test_what_is_fetched_again_does_not_wait_twice() -> None:
    gathering = Gathering()
    gathering.add([batch(0, 0, 5), batch(0, 5, 5), batch(1, 0, 1)])
    gathering.forget(0, 5)
    gathering.add([batch(0, 5, 3)])
    assert sorted(spans(gathering.take(always, clock()))) == [(0, 0, 8), (1, 0, 1)]


def test_one_batch_is_not_copied() -> None:
    only = batch(0, 0, 3)
    assert joined([only]) is only


sizes = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5_000)), max_size=25)


@given(rounds=st.lists(sizes, min_size=1, max_size=6), data=st.data())
def test_each_partition_is_worked_on_in_order_by_one_group_at_a_time_and_nothing_is_left(
    rounds: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    gathering = Gathering()
    ends: Counter[int] = Counter()
    worked: Counter[int] = Counter()
    in_work: list[list[Batch]] = []

    def finish() -> None:
        gathering.finished(in_work.pop(data.draw(st.integers(0, len(in_work) - 1))))

    def take() -> None:
        while group := gathering.take(always, clock()):
            busy = {one.partition for other in in_work for one in other}
            assert not busy & {one.partition for one in group}
            assert len({one.partition for one in group}) == len(group)
            for one in group:
                assert one.start == worked[one.partition]
                assert [number for _, number in one.records] == list(range(one.start, one.next))  # type: ignore[misc]  # made so above
                worked[one.partition] = one.next
            in_work.append(group)

    for added in rounds:
        for partition, size in added:
            gathering.add([batch(partition, ends[partition], size)])
            ends[partition] += size
        take()
        if in_work:
            finish()
    take()
    while in_work:
        finish()
        take()
    assert worked == ends
