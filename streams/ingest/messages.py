"""What a Kinesis record becomes on Kafka."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streams.events import Stream, key_of
from streams.topics import raw_topic
from streams.transport import Headers, TransportIdentity, to_headers


class IncomingRecord(Protocol):
    """A record as kclpy hands it over.

    Its `approximate_arrival_timestamp` is left out on purpose: it is naive local time.
    """

    @property
    def sequence_number(self) -> str:
        """Kinesis' number of the record; those aggregated into one share it."""

    @property
    def sub_sequence_number(self) -> int:
        """The place within an aggregated record, else 0."""

    @property
    def partition_key(self) -> str:
        """What the producer chose."""

    @property
    def timestamp_millis(self) -> int:
        """When Kinesis took it, milliseconds since 1970, UTC."""

    @property
    def binary_data(self) -> bytes:
        """The bytes as the producer sent them."""


@dataclass(frozen=True)
class KinesisRecord:
    """An `IncomingRecord` that was read without kclpy."""

    sequence_number: str
    sub_sequence_number: int
    partition_key: str
    timestamp_millis: int
    binary_data: bytes


@dataclass(frozen=True)
class Source:
    """A shard of a stream; `epoch` is the stream's creation time in milliseconds since 1970."""

    stream: Stream
    epoch: int
    shard: str


class Message(NamedTuple):
    """A record for Kafka, its value the very bytes that were put to Kinesis."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


def to_messages(source: Source, records: Iterable[IncomingRecord]) -> Iterator[Message]:
    """Give one message for each record, in their order, as they are asked for."""
    topic = raw_topic(source.stream)
    return (_to_message(topic, source, record) for record in records)


def _to_message(topic: str, source: Source, record: IncomingRecord) -> Message:
    value = record.binary_data
    identity = TransportIdentity(
        stream=source.stream,
        stream_epoch=source.epoch,
        shard=source.shard,
        sequence_number=record.sequence_number,
        sub_sequence_number=record.sub_sequence_number or 0,
        partition_key=record.partition_key,
        arrived_at_ms=record.timestamp_millis,
    )
    return Message(topic, key_of(value, record.partition_key), value, to_headers(identity))
