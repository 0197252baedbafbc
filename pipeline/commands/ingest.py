"""`pipeline ingest STREAM`: copy a Kinesis stream to its raw topic."""

import logging
import os
import sys
from typing import get_args

import click
from confluent_kafka.admin import AdminClient

from pipeline.aws import aws_of
from pipeline.errors import CONFIGURATION
from pipeline.settings import Settings, SettingsError, load_settings
from streams import failpoints
from streams.events import Stream
from streams.ingest.forwarder import ForwardError, KafkaForwarder, RecordTooLargeError
from streams.ingest.in_process import StreamReplacedError, run_in_process
from streams.ingest.launcher import RESTART_WANTED, Launch, StopSignal, run_daemon, worker_id, worker_slot
from streams.ingest.source import SourceError, UnreachableError
from streams.topics import KafkaUnreachableError, TopicsError, check_topics, partition_counts, raw_topic

CHECKPOINT_EVERY_SECONDS = 5.0
CHECKPOINT_EVERY_SECONDS_LOCALLY = 1.0


@click.command("ingest")
@click.argument("streams", nargs=-1, required=True, type=click.Choice(get_args(Stream)), metavar="STREAM…")
@click.option("--in-process", is_flag=True, help="Without Java: one process reads all shards of the streams.")
def ingest(streams: tuple[Stream, ...], in_process: bool) -> None:
    """Copy Kinesis records to Kafka, by Amazon's Kinesis client library.

    Runs until SIGTERM or Ctrl-C. Any number of workers of a stream share its shards; with --in-process one
    worker has them all, and can read several streams.
    """
    if len(streams) > 1 and not in_process:
        raise click.UsageError("one stream for each process, or --in-process")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    sys.exit(run(streams, in_process=in_process))


def run(streams: tuple[Stream, ...], *, in_process: bool) -> int:
    """Run the ingest, and give its exit code: 0 stopped, 75 to be started again, 78 the operator must act."""
    try:
        settings = load_settings()
        check_raw_topics(settings, streams)
        if in_process:
            return _run_in_process(settings, streams)
        return run_daemon(launch_of(settings, streams[0], dict(os.environ)))
    except RecordTooLargeError as error:
        click.echo(str(error), err=True)
        return CONFIGURATION
    except (UnreachableError, ForwardError, StreamReplacedError, KafkaUnreachableError) as error:
        click.echo(str(error), err=True)
        return RESTART_WANTED
    except (SettingsError, SourceError, TopicsError) as error:
        click.echo(str(error), err=True)
        return CONFIGURATION


def launch_of(settings: Settings, stream: Stream, environment: dict[str, str]) -> Launch:
    """Give how the daemon of a stream is run."""
    return Launch(
        stream=stream,
        aws=aws_of(settings),
        kafka=settings.kafka,
        application_prefix=settings.kinesis_application,
        folder=settings.home / "run" / "ingest" / stream,
        environment=environment,
        checkpoint_every_seconds=_checkpoint_every(settings),
        failpoints=settings.failpoints,
    )


def check_raw_topics(settings: Settings, streams: tuple[Stream, ...]) -> None:
    """Refuse to start when records could not be forwarded.

    Raises:
        KafkaUnreachableError: it cannot be reached.
        TopicsError: a raw topic is missing or divided otherwise.
    """
    found = partition_counts(AdminClient(settings.kafka.librdkafka()))
    check_topics(found, [raw_topic(stream) for stream in streams], settings.partitions)


def _run_in_process(settings: Settings, streams: tuple[Stream, ...]) -> int:
    failpoints.arm(settings.failpoints)
    stop = StopSignal()
    folder = settings.home / "run" / "ingest" / "in-process"
    with worker_slot(folder) as slot:
        run_in_process(
            streams,
            aws=aws_of(settings),
            forwarder=KafkaForwarder(settings.kafka),
            application_prefix=settings.kinesis_application,
            worker_id=worker_id(folder, slot),
            should_stop=lambda: stop.is_set,
            checkpoint_every_seconds=_checkpoint_every(settings),
        )
    return 0


def _checkpoint_every(settings: Settings) -> float:
    # On AWS each checkpoint is paid for; an emulator's is free.
    return CHECKPOINT_EVERY_SECONDS_LOCALLY if settings.kinesis_endpoint else CHECKPOINT_EVERY_SECONDS
