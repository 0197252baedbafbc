"""What the ingest needs to know of a Kinesis stream."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from streams.topics import MAX_MESSAGE_BYTES

# A message also carries its key and headers, each far below this.
LARGEST_RECORD_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024


class SourceError(Exception):
    """A stream cannot be read; the message says what to do."""


class MissingStreamError(SourceError):
    """There is no such stream."""


class UnreachableError(SourceError):
    """Kinesis or DynamoDB does not answer."""


class SlowError(UnreachableError):
    """It is there, but has not answered in time."""


@dataclass(frozen=True)
class Aws:
    """How to reach Kinesis and DynamoDB; without endpoints it is AWS itself, with its default credentials."""

    region: str
    kinesis_endpoint: str | None = None
    dynamodb_endpoint: str | None = None

    @property
    def is_emulated(self) -> bool:
        """Whether Kinesis is an emulator, which forgets everything when it stops."""
        return self.kinesis_endpoint is not None

    def client(self, service: str, *, patient: bool = True) -> Any:
        """Give boto3's client of `kinesis` or `dynamodb`; one that is not patient tries once, for 3 s."""
        endpoint = self.kinesis_endpoint if service == "kinesis" else self.dynamodb_endpoint
        # An emulator takes any credentials, but boto3 wants some.
        dummies = {"aws_access_key_id": "local", "aws_secret_access_key": "local"} if endpoint else {}
        config = Config(
            connect_timeout=3,
            read_timeout=15 if patient else 3,
            retries={"mode": "standard", "total_max_attempts": 4 if patient else 1},
        )
        make_client: Any = boto3.client  # its stubs know literal names only
        return make_client(service, region_name=self.region, endpoint_url=endpoint, config=config, **dummies)


def epoch_of(kinesis: Any, stream: str) -> int:
    """Give a stream's creation time, milliseconds since 1970.

    Raises:
        MissingStreamError: there is no such stream, or it is being deleted.
        UnreachableError: Kinesis does not answer.
        SourceError: it refuses, or the stream allows records that Kafka would not take.
    """
    try:
        summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    except kinesis.exceptions.ResourceNotFoundException:
        raise MissingStreamError(
            f"there is no Kinesis stream {stream}: create it "
            f"(`aws kinesis create-stream --stream-name {stream}`) "
            f"or correct PIPELINE_AWS_REGION and PIPELINE_KINESIS_ENDPOINT"
        ) from None
    except ClientError as error:
        raise SourceError(f"Kinesis refuses to describe the stream {stream}: {error}") from None
    except ReadTimeoutError as error:
        raise SlowError(f"Kinesis does not answer in time: {error}") from None
    except BotoCoreError as error:
        raise UnreachableError(f"Kinesis does not answer: {error}") from None
    if summary["StreamStatus"] == "DELETING":
        raise MissingStreamError(f"the Kinesis stream {stream} is being deleted: create it again")
    check_record_size(stream, summary)
    created: float = summary["StreamCreationTimestamp"].timestamp()
    return round(created * 1000)


def check_record_size(stream: str, summary: Mapping[str, Any]) -> None:
    """Refuse a stream that allows larger records than a message on Kafka; by default Kinesis takes 1 MiB.

    Raises:
        SourceError: its limit is too high.
    """
    limit = summary.get("MaxRecordSizeInKiB") or 1024
    if limit * 1024 > LARGEST_RECORD_BYTES:
        raise SourceError(
            f"the Kinesis stream {stream} allows records of {limit} KiB, more than fits a message on Kafka: "
            f"lower its maximum record size to {LARGEST_RECORD_BYTES // 1024} KiB or less"
        )


def may_be_same(error: SourceError, aws: Aws) -> bool:
    """Tell whether a stream can still be the one it was, when asking for its epoch has failed.

    An emulator that is gone comes back with another stream of the same name; AWS is only out of reach.
    """
    if aws.is_emulated:
        return isinstance(error, SlowError)
    return not isinstance(error, MissingStreamError)


def wait_for_epoch(kinesis: Any, stream: str, seconds: float, should_stop: Callable[[], bool]) -> int | None:
    """Give a stream's epoch, waiting for an emulator that is starting; None if it is to stop meanwhile.

    Raises:
        SourceError: as `epoch_of`, when the time is over.
    """
    deadline = time.monotonic() + seconds
    while not should_stop():
        try:
            return epoch_of(kinesis, stream)
        except (MissingStreamError, UnreachableError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)
    return None
