"""What is on Kinesis and not yet on Kafka, by shard."""

from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from streams.events import Stream
from streams.ingest.daemon import Application
from streams.ingest.leases import LeaseTable
from streams.ingest.shards import SHARD_END, TRIM_HORIZON, list_shards
from streams.ingest.source import Aws, epoch_of


class ShardBacklog(NamedTuple):
    """How far the workers are behind one shard; `records_waiting` is whether anything is not yet done."""

    stream: str
    shard: str
    records_waiting: bool
    behind_ms: int


def stream_backlog(aws: Aws, stream: Stream, application_prefix: str) -> list[ShardBacklog]:
    """Compare each shard's checkpoint with its end.

    Raises:
        SourceError: there is no such stream, or Kinesis does not answer.
    """
    kinesis, dynamodb = aws.client("kinesis"), aws.client("dynamodb")
    application = Application(application_prefix, stream, epoch_of(kinesis, stream), worker_id="").name
    try:
        checkpoints = LeaseTable(dynamodb, application).checkpoints()
    except ClientError:  # no worker has made it yet
        checkpoints = {}
    return [
        _shard_backlog(kinesis, stream, shard.shard_id, checkpoints.get(shard.shard_id, TRIM_HORIZON))
        for shard in list_shards(kinesis, stream)
    ]


def _shard_backlog(kinesis: Any, stream: str, shard: str, checkpoint: str) -> ShardBacklog:
    if checkpoint == SHARD_END:
        return ShardBacklog(stream, shard, records_waiting=False, behind_ms=0)
    place = (
        {"ShardIteratorType": TRIM_HORIZON}
        if checkpoint == TRIM_HORIZON
        else {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": checkpoint}
    )
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **place)["ShardIterator"]
    answer = kinesis.get_records(ShardIterator=iterator, Limit=1)
    behind_ms = answer["MillisBehindLatest"]
    return ShardBacklog(stream, shard, bool(answer["Records"]) or behind_ms > 0, behind_ms)
