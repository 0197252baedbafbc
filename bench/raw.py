"""Records of the producer as ingest workers write them to the raw topics, with no Kinesis before them."""

from typing import Final
from zlib import crc32

from producer.records import Record
from streams.ingest.messages import KinesisRecord, Message, Source, to_messages

SHARDS: Final = 2
FIRST_NUMBER: Final = 10**20
"""Kinesis' sequence numbers are longer than 64 bits."""


def raw_message(record: Record, number: int, arrived_at_ms: int, *, epoch: int = 1) -> Message:
    """Give what an ingest worker makes of a record.

    Args:
        record: of the producer.
        number: of the record; those with the same are one and the same to the pipeline.
        arrived_at_ms: when Kinesis took it, milliseconds since 1970.
        epoch: the stream's creation time, likewise.
    """
    shard = f"shardId-{crc32(record.partition_key.encode()) % SHARDS:012d}"
    taken = KinesisRecord(str(FIRST_NUMBER + number), 0, record.partition_key, arrived_at_ms, record.value)
    (message,) = to_messages(Source(record.stream, epoch, shard), [taken])
    return message
