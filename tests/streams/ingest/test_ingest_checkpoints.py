from streams.ingest.checkpoints import LONGEST_BACK_OFF_SECONDS, CheckpointSchedule, Position

FIRST, SECOND = Position("1", 0), Position("2", 0)


def test_nothing_is_due_before_anything_is_acknowledged() -> None:
    assert CheckpointSchedule(5).due(1e9) is None


def test_the_first_acknowledged_batch_is_due_at_once() -> None:
    schedule = CheckpointSchedule(5)
    schedule.acknowledge(FIRST)
    assert schedule.due(0) == FIRST


def test_the_next_is_due_after_the_interval_and_is_the_newest() -> None:
    schedule = CheckpointSchedule(5)
    schedule.acknowledge(FIRST)
    schedule.saved(100)
    schedule.acknowledge(SECOND)
    schedule.acknowledge(Position("3", 1))
    assert schedule.due(104.9) is None
    assert schedule.due(105) == Position("3", 1)


def test_nothing_is_due_twice() -> None:
    schedule = CheckpointSchedule(0)
    schedule.acknowledge(FIRST)
    schedule.saved(0)
    assert schedule.due(1000) is None


def test_without_an_interval_every_batch_is_due() -> None:
    schedule = CheckpointSchedule(0)
    schedule.acknowledge(FIRST)
    schedule.saved(7)
    schedule.acknowledge(SECOND)
    assert schedule.due(7) == SECOND


def test_throttling_waits_longer_each_time_up_to_a_bound_and_keeps_the_position() -> None:
    schedule, now, waits = CheckpointSchedule(1), 0.0, []
    schedule.acknowledge(FIRST)
    for _ in range(12):
        schedule.throttled(now)
        wait = next(
            w for w in (2**i for i in range(12)) if schedule.due(now + min(w, LONGEST_BACK_OFF_SECONDS))
        )
        waits.append(min(wait, LONGEST_BACK_OFF_SECONDS))
        now += waits[-1]
    assert waits == sorted(waits)
    assert waits[0] == 2
    assert waits[-1] == LONGEST_BACK_OFF_SECONDS
    assert schedule.due(now) == FIRST


def test_a_success_ends_the_back_off() -> None:
    schedule = CheckpointSchedule(1)
    schedule.acknowledge(FIRST)
    for _ in range(5):
        schedule.throttled(0)
    schedule.saved(0)
    schedule.acknowledge(SECOND)
    assert schedule.due(1) == SECOND
