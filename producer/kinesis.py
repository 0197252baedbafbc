"""Writing to Kinesis: full batches, and again only what failed.

Order: Kinesis gives none within one PutRecords request when parts of it fail. A failed part is sent again
before anything newer of its stream, so records of one partition key can change places only with others of
the same request, and only when some of it failed.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from producer.records import Record
from streams.events import MAX_EVENT_BYTES, Stream
from streams.failpoints import failpoint

MAX_BATCH_RECORDS: Final = 500
MAX_BATCH_BYTES: Final = 5 * 1024 * 1024
MAX_DELAY_SECONDS: Final = 5.0
FIRST_DELAY_SECONDS: Final = 0.1

PASSING: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
        "LimitExceededException",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "RequestTimeout",
        "500",
        "502",
        "503",
        "504",
    }
)
"""Error codes of whole requests that pass by themselves."""


class KinesisError(Exception):
    """Kinesis did not take the records; the message is one line and says what to do."""


def size_of(record: Record) -> int:
    """Give what Kinesis counts of a record: its bytes and those of its partition key."""
    return len(record.value) + len(record.partition_key.encode())


def fits(record: Record) -> bool:
    """Whether Kinesis takes a record of this size."""
    return size_of(record) <= MAX_EVENT_BYTES


def batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Divide records into requests that are as full as allowed, in order; each record must fit."""
    first, size = 0, 0
    for index, record in enumerate(records):
        added = size_of(record)
        if index - first == MAX_BATCH_RECORDS or size + added > MAX_BATCH_BYTES:
            yield records[first:index]
            first, size = index, 0
        size += added
    if first < len(records):
        yield records[first:]


def kinesis_client(*, region: str, endpoint: str | None = None, local: bool = False) -> Any:
    """Make a client that does not retry by itself.

    Args:
        region: the AWS region.
        endpoint: URL of an emulator or a private endpoint; None for AWS.
        local: the endpoint is an emulator that takes any credentials; else the default chain is asked.
    """
    dummy = "local" if local else None
    return boto3.client(
        "kinesis",
        region_name=region,
        endpoint_url=endpoint,
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, tcp_keepalive=True
        ),
        aws_access_key_id=dummy,
        aws_secret_access_key=dummy,
    )


class KinesisWriter:
    """Puts records, waiting and trying again for as long as there is hope.

    Args:
        client: a boto3 Kinesis client.
        give_up_seconds: how long to go on without a single record being taken.
        no_answer_seconds: how long to wait for the very first answer.
        sleep: waits so many seconds.
        clock: monotonic seconds.
        jitter: draws from 0 to 1; each delay is multiplied by it.
    """

    def __init__(
        self,
        client: Any,
        *,
        give_up_seconds: float = 60.0,
        no_answer_seconds: float = 10.0,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._give_up_seconds = give_up_seconds
        self._no_answer_seconds = min(no_answer_seconds, give_up_seconds)
        self._answers = self._has_answered = False
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self.requests = 0
        self.resent = 0

    def put(
        self, stream: Stream, records: Sequence[Record], acknowledged: Callable[[Sequence[Record]], None]
    ) -> None:
        """Put records of one stream, in order; blocks until all are taken.

        Args:
            stream: its name.
            records: any number, each of at most 1 MiB.
            acknowledged: called with what each request got through, at once, also before an error.

        Raises:
            KinesisError: the stream is missing, access is refused, or too long nothing was taken.
        """
        for batch in batches(records):
            self._put_batch(stream, batch, acknowledged)

    def _put_batch(
        self, stream: Stream, batch: Sequence[Record], acknowledged: Callable[[Sequence[Record]], None]
    ) -> None:
        waiting = batch
        delay = FIRST_DELAY_SECONDS
        last_progress = self._clock()
        while True:
            failed, cause = self._request(stream, waiting)
            if len(failed) < len(waiting):
                left = {id(record) for record in failed}
                acknowledged([record for record in waiting if id(record) not in left])
                last_progress = self._clock()
                delay = FIRST_DELAY_SECONDS
            if not failed:
                return
            patience = self._give_up_seconds if self._has_answered else self._no_answer_seconds
            if self._clock() - last_progress > patience:
                raise KinesisError(
                    f"stream {stream} has taken nothing for {patience:.0f} s ({cause}): "
                    + (
                        "has it enough shards for this rate?"
                        if self._answers
                        else "is Kinesis running? `pipeline up` starts the local one"
                    )
                )
            self._sleep(delay * (0.5 + 0.5 * self._jitter()))
            delay = min(delay * 2, MAX_DELAY_SECONDS)
            self.resent += len(failed)
            waiting = failed

    def _request(self, stream: Stream, records: Sequence[Record]) -> tuple[Sequence[Record], str]:
        """Send once; give what has failed and why."""
        failpoint("producer.before_put")
        self.requests += 1
        entries = [{"Data": record.value, "PartitionKey": record.partition_key} for record in records]
        try:
            self._answers = False
            answer = self._client.put_records(StreamName=stream, Records=entries)
            self._answers = self._has_answered = True
        except ClientError as error:
            self._answers = self._has_answered = True
            code = error.response.get("Error", {}).get("Code", "")
            if code in PASSING:
                return records, code
            raise KinesisError(_explain(stream, code, error)) from error
        except NoCredentialsError as error:
            raise KinesisError(
                "no AWS credentials were found: start the local platform (`pipeline up`), "
                "or configure them as for the aws command"
            ) from error
        except BotoCoreError as error:
            return records, str(error)
        if not answer.get("FailedRecordCount"):
            return (), ""
        results = answer["Records"]
        failed = [record for record, result in zip(records, results, strict=True) if result.get("ErrorCode")]
        return failed, next((str(r["ErrorCode"]) for r in results if r.get("ErrorCode")), "")


def _explain(stream: Stream, code: str, error: ClientError) -> str:
    if code == "ResourceNotFoundException":
        return (
            f"there is no Kinesis stream {stream}: create it, or start the local platform with `pipeline up`"
        )
    return f"Kinesis refused records for {stream}: {error}"
