"""The record processor without Java: one process reads all shards of one or more streams by itself.

It keeps KCL's promises with KCL's lease table: a shard begins at its oldest record or its checkpoint, parents
come before their children, every call of a processor's life is made. It is one worker: it does not share
shards with others. A second one, or Amazon's daemon, takes them over, and this one finds its leases lost.
"""

import logging
import time
from collections.abc import Callable, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from streams.events import Stream
from streams.ingest.daemon import Application
from streams.ingest.forwarder import Forwarder
from streams.ingest.leases import LeaseTable
from streams.ingest.processor import ShardProcessor
from streams.ingest.source import (
    Aws,
    SourceError,
    UnreachableError,
    may_be_same,
    wait_for_epoch,
)
from streams.ingest.stream_reader import StreamReader

log = logging.getLogger(__name__)


class StreamReplacedError(Exception):
    """The stream was made again, or the emulator is gone: start over with its new records."""


def run_in_process(
    streams: Sequence[Stream],
    *,
    aws: Aws,
    forwarder: Forwarder,
    application_prefix: str,
    worker_id: str,
    should_stop: Callable[[], bool],
    checkpoint_every_seconds: float = 5.0,
    start_seconds: float = 30.0,
) -> None:
    """Copy streams to their raw topics until told to stop; then checkpoint and return.

    Args:
        streams: what to read, by turns.
        aws: where they are.
        forwarder: where they go.
        application_prefix: what the names of the lease tables begin with.
        worker_id: this worker's name, the same after a restart.
        should_stop: asked between batches.
        checkpoint_every_seconds: the shortest time between two checkpoints of a shard.
        start_seconds: how long to wait for an emulator that has not made its streams yet.

    Raises:
        SourceError: a stream is missing or cannot be read; the message says what to do.
        StreamReplacedError: a stream was made again: run it again.
        ForwardError: Kafka did not acknowledge everything: run it again.
    """
    kinesis, dynamodb = aws.client("kinesis"), aws.client("dynamodb")
    idle_seconds = 0.1 if aws.is_emulated else 1.0
    readers = []
    for stream in streams:
        epoch = wait_for_epoch(kinesis, stream, start_seconds if aws.is_emulated else 0, should_stop)
        if epoch is None:
            return
        application = Application(application_prefix, stream, epoch, worker_id)
        leases = LeaseTable(dynamodb, application.name)
        leases.ensure()
        make = _processor_maker(stream, epoch, forwarder, checkpoint_every_seconds)
        readers.append(StreamReader(kinesis, leases, application, make, idle_seconds=idle_seconds))
    try:
        for reader in readers:
            reader.start_shards()
        _poll_until_stopped(readers, aws, should_stop, idle_seconds)
        for reader in readers:
            reader.stop()
    except BotoCoreError as error:
        raise UnreachableError(f"Kinesis or DynamoDB cannot be reached: {error}") from None
    except ClientError as error:
        if "AccessDenied" in error.response["Error"]["Code"]:
            raise SourceError(
                f"AWS does not permit to read the streams {', '.join(streams)}: {error}"
            ) from None
        raise UnreachableError(f"Kinesis or DynamoDB refuses: {error}") from None


def _processor_maker(
    stream: Stream, epoch: int, forwarder: Forwarder, checkpoint_every_seconds: float
) -> Callable[[], ShardProcessor]:
    return lambda: ShardProcessor(stream, epoch, forwarder, checkpoint_every_seconds=checkpoint_every_seconds)


def _poll_until_stopped(
    readers: Sequence[StreamReader], aws: Aws, should_stop: Callable[[], bool], idle_seconds: float
) -> None:
    check_every = 1.0 if aws.is_emulated else 60.0
    next_check = time.monotonic() + check_every
    while not should_stop():
        now = time.monotonic()
        if now >= next_check:
            for reader in readers:
                _check_stream(reader, aws)
                reader.start_shards()
            next_check = now + check_every
        forwarded = 0
        for reader in readers:
            # An emulator takes iterators of its former life; to ask it costs little.
            check = _checker(reader, aws) if aws.is_emulated else _nothing
            forwarded += reader.poll(now, check)
        if not forwarded:
            time.sleep(idle_seconds / 2)


def _checker(reader: StreamReader, aws: Aws) -> Callable[[], None]:
    return lambda: _check_stream(reader, aws)


def _nothing() -> None:
    return


def _check_stream(reader: StreamReader, aws: Aws) -> None:
    try:
        same = reader.is_same_stream()
    except SourceError as error:
        log.warning("%s", error)
        same = may_be_same(error, aws)
    if not same:
        raise StreamReplacedError(
            f"the stream {reader.stream} was made again: start over with its new records"
        )
