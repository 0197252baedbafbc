"""Reads all shards of one Kinesis stream and calls a record processor for each, as KCL would."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from amazon_kclpy.checkpoint_error import CheckpointError
from botocore.exceptions import ClientError

from streams.events import Stream
from streams.ingest.aggregation import unpack
from streams.ingest.daemon import Application
from streams.ingest.leases import LeaseLostError, LeaseTable
from streams.ingest.messages import KinesisRecord
from streams.ingest.processor import LEASE_GONE, THROTTLED, Checkpointer, ShardProcessor
from streams.ingest.shards import TRIM_HORIZON, Shard, list_shards, readable_shards
from streams.ingest.source import epoch_of

log = logging.getLogger(__name__)

MAX_RECORDS: Final = 10_000
BUSY: Final = frozenset(
    {"ProvisionedThroughputExceededException", "ThrottlingException", "LimitExceededException"}
)


@dataclass(frozen=True)
class Calls:
    """What a processor is given, by the names of kclpy's inputs."""

    shard_id: str = ""
    sequence_number: str | None = None
    records: Sequence[KinesisRecord] = ()
    checkpointer: Checkpointer | None = None


class LeaseCheckpointer:
    """Saves a shard's checkpoints in the lease table, and fails with the names of KCL's exceptions."""

    def __init__(self, leases: LeaseTable, shard_id: str, owner: str) -> None:
        self._leases = leases
        self._shard_id = shard_id
        self._owner = owner
        self.at_end = False
        self.is_lost = False

    def checkpoint(self, sequence_number: str | None = None, sub_sequence_number: int | None = None) -> None:
        """Save a position, or without one the end of the shard.

        Raises:
            CheckpointError: `ShutdownException` when the lease is lost, `ThrottlingException` when DynamoDB
                is busy, `InvalidStateException` when the end is not reached.
        """
        try:
            if sequence_number is not None:
                self._leases.save(self._shard_id, self._owner, sequence_number, sub_sequence_number or 0)
            elif self.at_end:
                self._leases.end(self._shard_id, self._owner)
            else:
                raise CheckpointError("InvalidStateException")
        except LeaseLostError as error:
            self.is_lost = True
            raise CheckpointError(LEASE_GONE) from error
        except ClientError as error:
            if error.response["Error"]["Code"] not in BUSY:
                raise
            raise CheckpointError(THROTTLED) from error


@dataclass
class ShardReader:
    """One shard that is being read."""

    shard_id: str
    processor: ShardProcessor
    checkpointer: LeaseCheckpointer
    position: str
    iterator: str | None = None
    not_before: float = 0.0
    back_off: float = 0.0


class StreamReader:
    """Reads all shards of one stream, in the order that resharding asks for.

    Args:
        kinesis: boto3's client.
        leases: the lease table; it is made if missing.
        application: which stream, and who reads it.
        make_processor: gives a new processor for a shard.
        idle_seconds: how long to leave a shard alone that had nothing new.
    """

    def __init__(
        self,
        kinesis: Any,
        leases: LeaseTable,
        application: Application,
        make_processor: Callable[[], ShardProcessor],
        *,
        idle_seconds: float,
    ) -> None:
        self._kinesis = kinesis
        self._leases = leases
        self._application = application
        self._make_processor = make_processor
        self._idle = idle_seconds
        self._readers: dict[str, ShardReader] = {}
        self._lost: set[str] = set()  # taken by another worker: left to it until a restart

    @property
    def stream(self) -> Stream:
        """The stream that is read."""
        return self._application.stream

    def is_same_stream(self) -> bool:
        """Tell whether the stream is the one that this reader began with.

        Raises:
            SourceError: it cannot be described.
        """
        return epoch_of(self._kinesis, self.stream) == self._application.epoch

    def start_shards(self) -> None:
        """Begin with every shard that can be read now and is not yet."""
        shards = list_shards(self._kinesis, self.stream)
        checkpoints = self._leases.checkpoints()
        for shard in readable_shards(shards, checkpoints):
            if shard.shard_id not in self._readers and shard.shard_id not in self._lost:
                self._start(shard, checkpoints.get(shard.shard_id))

    def _start(self, shard: Shard, checkpoint: str | None) -> None:
        owner = self._application.worker_id
        self._leases.add(shard, owner)
        self._leases.take(shard.shard_id, owner, even_from_others=True)
        reader = ShardReader(
            shard.shard_id,
            self._make_processor(),
            LeaseCheckpointer(self._leases, shard.shard_id, owner),
            checkpoint or TRIM_HORIZON,
        )
        reader.processor.initialize(Calls(shard_id=shard.shard_id, sequence_number=reader.position))
        self._readers[shard.shard_id] = reader

    def poll(self, now: float, check: Callable[[], None]) -> int:
        """Read each shard once that is not resting, and give the number of records forwarded.

        Args:
            now: seconds of a clock that never goes back.
            check: called before records are forwarded; raises if they are of another stream.

        Raises:
            ForwardError: Kafka did not acknowledge everything.
            CheckpointError: as the processor.
        """
        forwarded = 0
        for reader in list(self._readers.values()):
            if now < reader.not_before:
                continue
            answer = self._get_records(reader, now)
            if answer is None:
                continue
            records = to_records(answer["Records"])
            if records:
                check()
            reader.processor.process_records(Calls(records=records, checkpointer=reader.checkpointer))
            if reader.checkpointer.is_lost:
                self._lose(reader)
                continue
            if answer["Records"]:
                reader.position = answer["Records"][-1]["SequenceNumber"]
            reader.iterator = answer.get("NextShardIterator")
            if reader.iterator is None:
                self._finish(reader)
            elif not records:
                reader.not_before = now + self._idle
            forwarded += len(records)
        return forwarded

    def _get_records(self, reader: ShardReader, now: float) -> Mapping[str, Any] | None:
        try:
            if reader.iterator is None:
                reader.iterator = self._iterator(reader)
            answer: Mapping[str, Any] = self._kinesis.get_records(
                ShardIterator=reader.iterator, Limit=MAX_RECORDS
            )
        except self._kinesis.exceptions.ExpiredIteratorException:
            reader.iterator = None
        except ClientError as error:
            if error.response["Error"]["Code"] not in BUSY:
                raise
            reader.back_off = min(max(reader.back_off * 2, self._idle), 10.0)
            reader.not_before = now + reader.back_off
        else:
            reader.back_off = 0.0
            return answer
        return None

    def _iterator(self, reader: ShardReader) -> str:
        start = (
            {"ShardIteratorType": TRIM_HORIZON}
            if reader.position == TRIM_HORIZON
            else {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": reader.position,
            }
        )
        answer = self._kinesis.get_shard_iterator(StreamName=self.stream, ShardId=reader.shard_id, **start)
        iterator: str = answer["ShardIterator"]
        return iterator

    def _finish(self, reader: ShardReader) -> None:
        reader.checkpointer.at_end = True
        reader.processor.shard_ended(Calls(checkpointer=reader.checkpointer))
        log.info("%s %s: read to its end", self.stream, reader.shard_id)
        del self._readers[reader.shard_id]
        self.start_shards()

    def _lose(self, reader: ShardReader) -> None:
        reader.processor.lease_lost(Calls())
        log.warning("%s %s: another worker has taken it", self.stream, reader.shard_id)
        self._lost.add(reader.shard_id)
        del self._readers[reader.shard_id]

    def stop(self) -> None:
        """Let every processor checkpoint what it has done, and give its shard up."""
        for reader in self._readers.values():
            reader.processor.shutdown_requested(Calls(checkpointer=reader.checkpointer))
            self._leases.release(reader.shard_id, self._application.worker_id)
        self._readers.clear()


def to_records(answered: Sequence[Mapping[str, Any]]) -> list[KinesisRecord]:
    """Give the records of an answer of Kinesis, aggregated ones unpacked as KCL does."""
    records = []
    for record in answered:
        number, data = record["SequenceNumber"], record["Data"]
        arrived = round(record["ApproximateArrivalTimestamp"].timestamp() * 1000)
        packed = unpack(data)
        if packed is None:
            records.append(KinesisRecord(number, 0, record["PartitionKey"], arrived, data))
        else:
            records += [
                KinesisRecord(number, sub, one.partition_key, arrived, one.data)
                for sub, one in enumerate(packed)
            ]
    return records
