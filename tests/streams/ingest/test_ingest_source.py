from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from streams.ingest.source import Aws, MissingStreamError, UnreachableError, epoch_of, wait_for_epoch


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws():
        yield Aws("us-east-1").client("kinesis")


def test_a_streams_epoch_is_its_creation_time_in_milliseconds(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="system-logs", ShardCount=1)
    summary = kinesis.describe_stream_summary(StreamName="system-logs")["StreamDescriptionSummary"]
    created = summary["StreamCreationTimestamp"].timestamp()
    assert epoch_of(kinesis, "system-logs") == pytest.approx(created * 1000, abs=1)


def test_a_missing_stream_is_one_line_that_says_what_to_do(kinesis: Any) -> None:
    with pytest.raises(MissingStreamError, match=r"^there is no Kinesis stream system-logs: create it .*$"):
        epoch_of(kinesis, "system-logs")


def test_a_kinesis_that_does_not_answer_is_unreachable() -> None:
    nowhere = Aws("us-east-1", "http://127.0.0.1:1", "http://127.0.0.1:1").client("kinesis", patient=False)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
        epoch_of(nowhere, "system-logs")


def test_a_stream_that_is_not_there_yet_is_waited_for(kinesis: Any) -> None:
    asked = 0

    def make_it_the_second_time() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            kinesis.create_stream(StreamName="system-logs", ShardCount=1)
        return False

    assert wait_for_epoch(kinesis, "system-logs", 30, make_it_the_second_time) is not None
    assert asked == 2


def test_waiting_ends_with_its_time_or_when_told_to_stop(kinesis: Any) -> None:
    with pytest.raises(MissingStreamError):
        wait_for_epoch(kinesis, "system-logs", 0, lambda: False)
    assert wait_for_epoch(kinesis, "system-logs", 30, lambda: True) is None
