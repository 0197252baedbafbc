"""The driver in this process: order of shards, leases, and what it does when others take them.

The leases are in moto. Its Kinesis never ends a shard, so here stands one that reshards as AWS documents it:
`NextShardIterator` is null at the end of a closed shard, whose records stay where they are.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from aggregated import pack
from amazon_kclpy.checkpoint_error import CheckpointError
from botocore.exceptions import ClientError
from moto import mock_aws

from streams.ingest.daemon import Application
from streams.ingest.forwarder import ForwardError
from streams.ingest.launcher import prepare_leases
from streams.ingest.leases import LeaseTable
from streams.ingest.messages import Message
from streams.ingest.processor import ShardProcessor
from streams.ingest.shards import SHARD_END, TRIM_HORIZON
from streams.ingest.stream_reader import LeaseCheckpointer, StreamReader, to_records

clock = itertools.count()
ARRIVED = datetime(2026, 1, 2, tzinfo=UTC)


class ExpiredIteratorException(Exception):  # noqa: N818  (AWS's name)
    pass


@dataclass
class Kinesis:
    """A stream in memory; an iterator is "shard index"."""

    parents: dict[str, tuple[str, ...]]
    records: dict[str, list[bytes]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    errors: list[Exception] = field(default_factory=list)
    limit: int = 2
    exceptions = SimpleNamespace(ExpiredIteratorException=ExpiredIteratorException)

    def list_shards(self, StreamName: str) -> dict[str, Any]:  # noqa: ARG002, N803  (AWS's name)
        keys = {"StartingHashKey": "0", "EndingHashKey": "1"}
        both = ("ParentShardId", "AdjacentParentShardId")
        return {
            "Shards": [
                {"ShardId": name, "HashKeyRange": keys, **dict(zip(both, parents, strict=False))}
                for name, parents in self.parents.items()
            ]
        }

    def get_shard_iterator(self, ShardId: str, **start: str) -> dict[str, str]:  # noqa: N803  (AWS's name)
        at = 0 if start["ShardIteratorType"] == TRIM_HORIZON else int(start["StartingSequenceNumber"]) + 1
        return {"ShardIterator": f"{ShardId} {at}"}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: ARG002, N803  (AWS's name)
        if self.errors:
            raise self.errors.pop(0)
        shard, at = ShardIterator.split(maxsplit=1)[0], int(ShardIterator.split()[1])
        kept = self.records.get(shard, [])
        found = list(enumerate(kept))[at : at + self.limit]
        end = at + len(found)
        answered = [
            {
                "SequenceNumber": str(n),
                "PartitionKey": "pk",
                "Data": data,
                "ApproximateArrivalTimestamp": ARRIVED,
            }
            for n, data in found
        ]
        over = shard in self.closed and end >= len(kept)
        return {"Records": answered, "NextShardIterator": None if over else f"{shard} {end}"}


@dataclass
class Kafka:
    values: list[bytes] = field(default_factory=list)
    error: Exception | None = None

    def forward(self, messages: Iterable[Message]) -> None:
        if self.error:
            raise self.error
        self.values += [message.value for message in messages]


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "dynamodb", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )


def reader(
    kinesis: Kinesis, dynamodb: Any, kafka: Kafka, worker: str = "w", every: float = 0
) -> StreamReader:
    application = Application("pipeline", "system-logs", 1, worker)
    leases = LeaseTable(dynamodb, application.name)
    leases.ensure()
    return StreamReader(
        kinesis,
        leases,
        application,
        lambda: ShardProcessor("system-logs", 1, kafka, checkpoint_every_seconds=every),
        idle_seconds=0,
    )


def poll(stream: StreamReader, times: int = 20) -> int:
    return sum(stream.poll(next(clock), lambda: None) for _ in range(times))


def checkpoints(dynamodb: Any) -> dict[str, str]:
    return LeaseTable(dynamodb, "pipeline-system-logs-1").checkpoints()


def test_all_records_of_all_shards_are_forwarded_and_checkpointed(dynamodb: Any) -> None:
    kinesis = Kinesis({"a": (), "b": ()}, {"a": [b"1", b"2", b"3"], "b": [b"4"]})
    kafka = Kafka()
    stream = reader(kinesis, dynamodb, kafka)
    stream.start_shards()
    assert poll(stream) == 4
    assert sorted(kafka.values) == [b"1", b"2", b"3", b"4"]
    assert checkpoints(dynamodb) == {"a": "2", "b": "0"}


def test_parents_are_read_to_their_end_before_their_children_begin(dynamodb: Any) -> None:
    parents: dict[str, tuple[str, ...]] = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    kinesis = Kinesis(
        parents,
        {"a": [b"a0", b"a1", b"a2"], "b": [b"b0"], "c": [b"c0", b"c1", b"c2"], "d": [b"d0"]},
        closed={"a", "b", "c"},
    )
    kafka = Kafka()
    stream = reader(kinesis, dynamodb, kafka)
    stream.start_shards()
    poll(stream)
    assert kafka.values[:3] == [b"a0", b"a1", b"a2"]
    assert sorted(kafka.values[3:7]) == [b"b0", b"c0", b"c1", b"c2"]
    assert kafka.values[7:] == [b"d0"]
    assert checkpoints(dynamodb) == {"a": SHARD_END, "b": SHARD_END, "c": SHARD_END, "d": "0"}


def test_a_split_while_reading_loses_nothing(dynamodb: Any) -> None:
    kinesis = Kinesis({"a": ()}, {"a": [b"a0"]})
    kafka = Kafka()
    stream = reader(kinesis, dynamodb, kafka)
    stream.start_shards()
    poll(stream)
    kinesis.records["a"].append(b"a1")
    kinesis.parents |= {"b": ("a",), "c": ("a",)}
    kinesis.closed.add("a")
    kinesis.records |= {"b": [b"b0"], "c": [b"c0"]}
    poll(stream)
    assert kafka.values[:2] == [b"a0", b"a1"]
    assert sorted(kafka.values) == [b"a0", b"a1", b"b0", b"c0"]


def test_after_a_restart_it_goes_on_behind_the_checkpoint(dynamodb: Any) -> None:
    kinesis = Kinesis({"a": ()}, {"a": [b"1", b"2", b"3"]})
    first = reader(kinesis, dynamodb, Kafka(), every=1e9)
    first.start_shards()
    poll(first)
    first.stop()
    kinesis.records["a"].append(b"4")
    kafka = Kafka()
    second = reader(kinesis, dynamodb, kafka)
    second.start_shards()
    poll(second)
    assert kafka.values == [b"4"]


def test_after_a_crash_what_was_not_checkpointed_comes_again(dynamodb: Any) -> None:
    kinesis = Kinesis({"a": ()}, {"a": [b"1", b"2", b"3"]})
    first = reader(kinesis, dynamodb, Kafka(), every=1e9)
    first.start_shards()
    poll(first)  # the first batch of two is checkpointed, then it crashes
    kafka = Kafka()
    second = reader(kinesis, dynamodb, kafka)
    second.start_shards()
    poll(second)
    assert kafka.values == [b"3"]


def test_what_kafka_did_not_take_is_not_checkpointed(dynamodb: Any) -> None:
    kinesis = Kinesis({"a": ()}, {"a": [b"1"]})
    stream = reader(kinesis, dynamodb, Kafka(error=ForwardError("no")))
    stream.start_shards()
    with pytest.raises(ForwardError):
        poll(stream)
    assert checkpoints(dynamodb) == {"a": TRIM_HORIZON}


def test_a_shard_that_another_worker_took_is_left_to_it(dynamodb: Any) -> None:
    kinesis = Kinesis({"a": ()}, {"a": [b"1"]})
    old, new = Kafka(), Kafka()
    first = reader(kinesis, dynamodb, old, "first")
    first.start_shards()
    poll(first)
    second = reader(kinesis, dynamodb, new, "second")
    second.start_shards()
    kinesis.records["a"] += [b"2", b"3"]
    poll(first)  # it forwards once more, finds the lease lost at its checkpoint, and stops
    kinesis.records["a"] += [b"4"]
    first.start_shards()
    poll(first)
    poll(second)
    assert b"4" not in old.values
    assert new.values == [b"2", b"3", b"4"]
    assert checkpoints(dynamodb) == {"a": "3"}


@pytest.mark.parametrize(
    "error",
    [
        ExpiredIteratorException(),
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "GetRecords"),
    ],
)
def test_what_passes_by_itself_is_tried_again(dynamodb: Any, error: Exception) -> None:
    kinesis = Kinesis({"a": ()}, {"a": [b"1", b"2", b"3"]}, errors=[error])
    kafka = Kafka()
    stream = reader(kinesis, dynamodb, kafka)
    stream.start_shards()
    poll(stream)
    assert kafka.values == [b"1", b"2", b"3"]


def test_records_of_another_stream_are_not_forwarded(dynamodb: Any) -> None:
    def refuse() -> None:
        raise LookupError

    kafka = Kafka()
    stream = reader(Kinesis({"a": ()}, {"a": [b"1"]}), dynamodb, kafka)
    stream.start_shards()
    with pytest.raises(LookupError):
        stream.poll(0, refuse)
    assert kafka.values == []


def test_the_end_of_a_shard_cannot_be_saved_before_it_is_reached(dynamodb: Any) -> None:
    leases = LeaseTable(dynamodb, "t")
    leases.ensure()
    with pytest.raises(CheckpointError, match="InvalidStateException"):
        LeaseCheckpointer(leases, "a", "w").checkpoint()


def test_an_aggregated_record_is_unpacked_with_sub_sequence_numbers() -> None:
    packed = pack([("k1", b"one"), ("k2", b"two")])
    answered = {"SequenceNumber": "7", "PartitionKey": "a", "ApproximateArrivalTimestamp": ARRIVED}
    records = to_records(
        [{**answered, "Data": packed}, {**answered, "SequenceNumber": "8", "Data": b"three"}]
    )
    assert [(r.sequence_number, r.sub_sequence_number, r.partition_key, r.binary_data) for r in records] == [
        ("7", 0, "k1", b"one"),
        ("7", 1, "k2", b"two"),
        ("8", 0, "a", b"three"),
    ]
    assert {r.timestamp_millis for r in records} == {1_767_312_000_000}


def test_leases_are_prepared_for_the_oldest_shards_and_taken_from_nobody(dynamodb: Any) -> None:
    kinesis = Kinesis({"a": (), "b": ("a",), "c": ()})
    application = Application("pipeline", "system-logs", 1, "first")
    prepare_leases(kinesis, dynamodb, application)
    prepare_leases(kinesis, dynamodb, Application("pipeline", "system-logs", 1, "second"))
    leases = LeaseTable(dynamodb, application.name)
    assert leases.checkpoints() == {"a": TRIM_HORIZON, "c": TRIM_HORIZON}
    leases.save("a", "first", "5", 0)
    leases.release("a", "first")
    prepare_leases(kinesis, dynamodb, Application("pipeline", "system-logs", 1, "second"))
    leases.save("a", "second", "6", 0)
    assert leases.checkpoints() == {"a": "6", "c": TRIM_HORIZON}
