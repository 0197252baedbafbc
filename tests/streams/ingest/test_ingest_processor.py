"""The processor's promises, with a forwarder and a checkpointer that write down what happens."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from amazon_kclpy.checkpoint_error import CheckpointError

from streams.ingest.forwarder import ForwardError
from streams.ingest.messages import KinesisRecord, Message
from streams.ingest.processor import LAST_ATTEMPTS, ShardProcessor
from streams.ingest.stream_reader import Calls


@dataclass
class World:
    """Kafka and the lease table as one list of what happened; errors are given beforehand."""

    happened: list[Any] = field(default_factory=list)
    forward_error: Exception | None = None
    checkpoint_errors: list[str] = field(default_factory=list)
    now: float = 0.0

    def forward(self, messages: Iterable[Message]) -> None:
        if self.forward_error:
            raise self.forward_error
        self.happened += [("forwarded", message.value) for message in messages]

    def checkpoint(self, sequence_number: str | None = None, sub_sequence_number: int | None = None) -> None:
        if self.checkpoint_errors:
            raise CheckpointError(self.checkpoint_errors.pop(0))
        self.happened.append(("checkpoint", sequence_number, sub_sequence_number))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.happened.append(("slept", seconds))

    @property
    def checkpoints(self) -> list[Any]:
        return [h for h in self.happened if h[0] == "checkpoint"]


@pytest.fixture
def world() -> World:
    return World()


def processor(world: World, every: float = 0.0) -> ShardProcessor:
    made = ShardProcessor(
        "system-logs", 1, world, checkpoint_every_seconds=every, clock=lambda: world.now, sleep=world.sleep
    )
    made.initialize(Calls(shard_id="shardId-000000000000"))
    return made


def batch(world: World, *numbers: int, sub: int = 0) -> Calls:
    records = [KinesisRecord(str(n), sub, "pk", 0, b"%d" % n) for n in numbers]
    return Calls(records=records, checkpointer=world)


def test_all_is_acknowledged_before_the_last_number_is_checkpointed(world: World) -> None:
    processor(world).process_records(batch(world, 1, 2, 3, sub=4))
    assert world.happened == [
        ("forwarded", b"1"),
        ("forwarded", b"2"),
        ("forwarded", b"3"),
        ("checkpoint", "3", 4),
    ]


def test_what_is_not_acknowledged_is_never_checkpointed(world: World) -> None:
    world.forward_error = ForwardError("no")
    shard = processor(world)
    with pytest.raises(ForwardError):
        shard.process_records(batch(world, 1))
    shard.shutdown_requested(Calls(checkpointer=world))
    assert world.happened == []


def test_checkpoints_are_at_most_one_in_the_interval_and_an_empty_batch_makes_the_rest(world: World) -> None:
    shard = processor(world, every=5)
    for number in (1, 2, 3):
        shard.process_records(batch(world, number))
    assert world.checkpoints == [("checkpoint", "1", 0)]
    world.now = 5
    shard.process_records(batch(world))
    assert world.checkpoints == [("checkpoint", "1", 0), ("checkpoint", "3", 0)]


def test_throttled_it_goes_on_with_records_and_checkpoints_later(world: World) -> None:
    world.checkpoint_errors = ["ThrottlingException"]
    shard = processor(world)
    shard.process_records(batch(world, 1))
    shard.process_records(batch(world, 2))
    assert world.checkpoints == []
    world.now = 60
    shard.process_records(batch(world, 3))
    assert world.happened == [
        ("forwarded", b"1"),
        ("forwarded", b"2"),
        ("forwarded", b"3"),
        ("checkpoint", "3", 0),
    ]


def test_when_another_worker_owns_the_shard_nothing_more_is_forwarded_or_checkpointed(world: World) -> None:
    world.checkpoint_errors = ["ShutdownException"]
    shard = processor(world)
    shard.process_records(batch(world, 1))
    shard.process_records(batch(world, 2))
    shard.shutdown_requested(Calls(checkpointer=world))
    assert world.happened == [("forwarded", b"1")]


def test_a_lost_lease_is_never_checkpointed(world: World) -> None:
    shard = processor(world, every=5)
    shard.process_records(batch(world, 1))
    shard.process_records(batch(world, 2))
    shard.lease_lost(Calls())
    shard.shutdown_requested(Calls(checkpointer=world))
    assert world.checkpoints == [("checkpoint", "1", 0)]


@pytest.mark.parametrize("error", ["InvalidStateException", "KinesisClientLibDependencyException"])
def test_other_errors_of_a_checkpoint_are_not_swallowed(world: World, error: str) -> None:
    world.checkpoint_errors = [error]
    with pytest.raises(CheckpointError):
        processor(world).process_records(batch(world, 1))


def test_the_end_of_a_shard_is_checkpointed_without_a_number(world: World) -> None:
    shard = processor(world, every=5)
    shard.process_records(batch(world, 1))
    shard.process_records(batch(world, 2))
    shard.shard_ended(Calls(checkpointer=world))
    assert world.happened[-2:] == [("forwarded", b"2"), ("checkpoint", None, None)]


def test_the_end_of_a_shard_is_tried_again_when_throttled(world: World) -> None:
    world.checkpoint_errors = ["ThrottlingException"] * (LAST_ATTEMPTS - 1)
    processor(world).shard_ended(Calls(checkpointer=world))
    assert world.checkpoints == [("checkpoint", None, None)]


def test_the_end_of_a_shard_that_cannot_be_saved_is_an_error(world: World) -> None:
    world.checkpoint_errors = ["ThrottlingException"] * LAST_ATTEMPTS
    with pytest.raises(CheckpointError):
        processor(world).shard_ended(Calls(checkpointer=world))


def test_a_requested_shutdown_checkpoints_what_is_acknowledged(world: World) -> None:
    shard = processor(world, every=5)
    shard.process_records(batch(world, 1))
    shard.process_records(batch(world, 2))
    shard.shutdown_requested(Calls(checkpointer=world))
    shard.shutdown_requested(Calls(checkpointer=world))
    assert world.checkpoints == [("checkpoint", "1", 0), ("checkpoint", "2", 0)]
