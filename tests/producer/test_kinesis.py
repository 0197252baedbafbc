"""The writer, against a stand-in that fails as AWS does, and against the real emulator."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from hypothesis import given
from hypothesis import strategies as st

from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from producer.kinesis import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    KinesisError,
    KinesisWriter,
    batches,
    fits,
    kinesis_client,
    size_of,
)
from producer.records import Record

if TYPE_CHECKING:
    from streams.events import Stream

THROTTLED = "ProvisionedThroughputExceededException"
Plan = Callable[[int, int], str | Exception | None]


def make_records(count: int, size: int = 50) -> list[Record]:
    return [
        Record(stream="system-logs", value=b"%08d" % n + b"x" * (size - 8), partition_key=f"k{n % 7}")
        for n in range(count)
    ]


class FailingKinesis:
    """Takes records, but answers as the plan says: an error for a request, or for a record of it."""

    def __init__(self, plan: Plan = lambda _request, _record: None) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.sizes: list[int] = []
        self._plan = plan

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  (AWS' names)
        assert StreamName == "system-logs"
        request = len(self.sizes)
        self.sizes.append(len(Records))
        results: list[dict[str, Any]] = []
        for number, record in enumerate(Records):
            outcome = self._plan(request, number)
            if isinstance(outcome, Exception):
                raise outcome
            if outcome is None:
                self.taken.append((record["PartitionKey"], record["Data"]))
                results.append({"SequenceNumber": str(len(self.taken)), "ShardId": "shardId-0"})
            else:
                results.append({"ErrorCode": outcome, "ErrorMessage": "no"})
        return {"FailedRecordCount": sum("ErrorCode" in r for r in results), "Records": results}


class Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Told:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def __call__(self, records: Sequence[Record]) -> None:
        self.values += [record.value for record in records]


def make_writer(client: object, time: Time) -> KinesisWriter:
    return KinesisWriter(client, sleep=time.sleep, clock=lambda: time.now, jitter=lambda: 1.0)


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutRecords")


@given(st.lists(st.integers(8, 1024 * 1024 - 2), max_size=30), st.integers(0, 1200))
def test_batches_are_full_and_within_the_limits(sizes: list[int], small: int) -> None:
    big = [Record(stream="system-logs", value=b"x" * size, partition_key="kk") for size in sizes]
    records = make_records(small) + big
    found = list(batches(records))
    assert [r for batch in found for r in batch] == records
    for batch in found:
        assert len(batch) <= MAX_BATCH_RECORDS
        assert sum(map(size_of, batch)) <= MAX_BATCH_BYTES
    for batch, following in pairwise(found):
        full = len(batch) == MAX_BATCH_RECORDS
        assert full or sum(map(size_of, batch)) + size_of(following[0]) > MAX_BATCH_BYTES


def test_a_record_of_a_mebibyte_with_its_key_fits_and_one_more_byte_does_not() -> None:
    record = Record(stream="system-logs", value=b"x" * (1024 * 1024 - 2), partition_key="é")
    assert fits(record)
    record.value += b"x"
    assert not fits(record)


def test_only_the_failed_part_is_sent_again() -> None:
    kinesis = FailingKinesis(lambda request, n: THROTTLED if request == 0 and n % 5 == 0 else None)
    told, time = Told(), Time()
    writer = make_writer(kinesis, time)
    records = make_records(1200)
    writer.put("system-logs", records, told)
    assert kinesis.sizes == [500, 100, 500, 200]
    assert Counter(kinesis.taken) == Counter((r.partition_key, r.value) for r in records)
    assert sorted(told.values) == [r.value for r in records]
    assert (writer.requests, writer.resent) == (4, 100)


def test_a_failed_part_goes_before_what_is_newer() -> None:
    kinesis = FailingKinesis(lambda request, n: THROTTLED if request < 3 and n >= 250 else None)
    make_writer(kinesis, Time()).put("system-logs", make_records(1000), Told())
    assert [value for _, value in kinesis.taken] == [r.value for r in make_records(1000)]


def test_delays_grow_while_nothing_is_taken_and_start_again_after_progress() -> None:
    def plan(request: int, number: int) -> str | None:
        if request < 3:
            return THROTTLED
        return THROTTLED if request == 3 and number else None

    time = Time()
    make_writer(FailingKinesis(plan), time).put("system-logs", make_records(10), Told())
    assert time.slept == [0.1, 0.2, 0.4, 0.1]


@pytest.mark.parametrize(
    "failure",
    [
        client_error(THROTTLED),
        client_error("ServiceUnavailable"),
        EndpointConnectionError(endpoint_url="http://gone"),
    ],
)
def test_passing_troubles_of_a_whole_request_are_waited_for(failure: Exception) -> None:
    kinesis = FailingKinesis(lambda request, _: failure if request < 4 else None)
    told, time = Told(), Time()
    make_writer(kinesis, time).put("system-logs", make_records(10), told)
    assert len(told.values) == 10
    assert len(time.slept) == 4


def test_it_gives_up_when_nothing_is_taken_for_a_minute() -> None:
    def plan(request: int, number: int) -> str | None:
        return None if request == 0 and number < 3 else THROTTLED

    told, time = Told(), Time()
    with pytest.raises(KinesisError, match=r"has taken nothing for 60 s .*enough shards"):
        make_writer(FailingKinesis(plan), time).put("system-logs", make_records(10), told)
    assert len(told.values) == 3
    assert 60 < time.now < 70
    assert max(time.slept) == 5.0


def test_it_waits_a_few_seconds_for_the_first_answer_and_asks_for_the_service_not_for_shards() -> None:
    time = Time()
    gone = EndpointConnectionError(endpoint_url="http://gone")
    with pytest.raises(KinesisError, match=r"for 10 s .*is Kinesis running\? `pipeline up`") as error:
        make_writer(FailingKinesis(lambda *_: gone), time).put("system-logs", make_records(1), Told())
    assert "shards" not in str(error.value)
    assert 10 < time.now < 20


def test_a_service_that_has_answered_before_is_waited_for_a_minute() -> None:
    gone = EndpointConnectionError(endpoint_url="http://gone")
    time = Time()
    failing = FailingKinesis(lambda request, _: None if request == 0 else gone)
    writer = make_writer(failing, time)
    writer.put("system-logs", make_records(1), Told())
    with pytest.raises(KinesisError, match=r"for 60 s .*is Kinesis running"):
        writer.put("system-logs", make_records(1), Told())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (client_error("ResourceNotFoundException"), "there is no Kinesis stream system-logs"),
        (client_error("AccessDeniedException"), "refused"),
        (NoCredentialsError(), "credentials"),
    ],
)
def test_what_does_not_pass_by_itself_is_an_error_at_once(failure: Exception, message: str) -> None:
    time = Time()
    with pytest.raises(KinesisError, match=message):
        make_writer(FailingKinesis(lambda *_: failure), time).put("system-logs", make_records(1), Told())
    assert time.slept == []


@pytest.fixture
def emulator(platform: LocalPlatform) -> Any:
    return kinesis_client(region=platform.settings.aws_region, endpoint=platform.kinesis_endpoint, local=True)


def read_all(client: Any, stream: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            answer = client.get_records(ShardIterator=iterator, Limit=10_000)
            if not answer["Records"]:
                break
            found += [(record["PartitionKey"], record["Data"]) for record in answer["Records"]]
            iterator = answer["NextShardIterator"]
    return found


@pytest.mark.real
def test_the_emulator_holds_each_record_once_in_the_order_of_its_key(
    emulator: Any, unique: Callable[[str], str]
) -> None:
    stream = unique("writer")
    emulator.create_stream(StreamName=stream, ShardCount=3)
    records, told = make_records(1700), Told()
    KinesisWriter(emulator).put(cast("Stream", stream), records, told)
    by_key: dict[str, list[bytes]] = defaultdict(list)
    for key, value in read_all(emulator, stream):
        by_key[key].append(value)
    wanted: dict[str, list[bytes]] = defaultdict(list)
    for record in records:
        wanted[record.partition_key].append(record.value)
    assert by_key == wanted
    assert told.values == [record.value for record in records]


@pytest.mark.real
def test_the_emulator_says_that_a_stream_is_missing(emulator: Any) -> None:
    with pytest.raises(KinesisError, match="there is no Kinesis stream nowhere"):
        KinesisWriter(emulator).put(cast("Stream", "nowhere"), make_records(1), Told())


def test_nobody_at_the_address_is_an_error_that_says_so() -> None:
    client = kinesis_client(region="us-east-1", endpoint=f"http://127.0.0.1:{free_port()}", local=True)
    writer = KinesisWriter(client, give_up_seconds=0.3)
    with pytest.raises(KinesisError, match="is Kinesis running"):
        writer.put("system-logs", make_records(1), Told())
