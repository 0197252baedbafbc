"""The daemon's protocol, through in-memory files and through a real child process."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from amazon_kclpy.dispatch import message_decode

from streams.ingest.child import EXIT_FAILED, ChildConfig, CrashOnError
from streams.ingest.forwarder import ForwardError
from streams.ingest.messages import Message
from streams.ingest.processor import ShardProcessor
from streams.ingest.protocol import BatchProcess, Records
from streams.kafka import KafkaConfig
from streams.topics import MAX_MESSAGE_BYTES

INITIALIZE = {
    "action": "initialize",
    "shardId": "s-1",
    "sequenceNumber": "TRIM_HORIZON",
    "subSequenceNumber": 0,
}


class ProcessEnded(BaseException):
    """Stands for the end of the process."""


class Forwarder:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.messages: list[Message] = []

    def forward(self, messages: Iterable[Message]) -> None:
        if self.error:
            raise self.error
        self.messages += messages


def batch(*values: bytes) -> dict[str, Any]:
    records = [
        {
            "action": "record",
            "data": base64.b64encode(value).decode(),
            "partitionKey": f"pk{number}",
            "sequenceNumber": str(number),
            "subSequenceNumber": 0,
            "approximateArrivalTimestamp": 1_700_000_000_000 + number,
        }
        for number, value in enumerate(values, 1)
    ]
    return {"action": "processRecords", "records": records, "millisBehindLatest": 0}


def saved(error: str | None = None) -> dict[str, Any]:
    return {"action": "checkpoint", "sequenceNumber": "", "subSequenceNumber": 0, "error": error}


def talk(forwarder: Forwarder, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    def end(code: int) -> None:
        assert code == EXIT_FAILED
        raise ProcessEnded

    output = io.StringIO()
    processor = ShardProcessor("system-logs", 42, forwarder, checkpoint_every_seconds=0)
    process = BatchProcess(
        CrashOnError(processor, end),
        io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode()),
        output,
        io.StringIO(),
    )
    try:
        process.run()
    except ProcessEnded:
        answers: list[dict[str, Any]] = [{"action": "ended"}]
    else:
        answers = []
    return [json.loads(line) for line in output.getvalue().splitlines() if line] + answers


def done(action: str) -> dict[str, Any]:
    return {"action": "status", "responseFor": action}


def test_a_shards_whole_life() -> None:
    forwarder = Forwarder()
    answers = talk(
        forwarder,
        INITIALIZE,
        batch(b"one", b"two"),
        saved(),
        {"action": "shardEnded"},
        saved(),
    )
    assert answers == [
        done("initialize"),
        {"action": "checkpoint", "sequenceNumber": "2", "subSequenceNumber": 0},
        done("processRecords"),
        {"action": "checkpoint", "sequenceNumber": None, "subSequenceNumber": None},
        done("shardEnded"),
    ]
    assert [(m.topic, m.key, m.value) for m in forwarder.messages] == [
        ("raw.system-logs", b"pk1", b"one"),
        ("raw.system-logs", b"pk2", b"two"),
    ]
    assert ("kinesis_arrived_at", b"1700000000001") in forwarder.messages[0].headers
    assert ("kinesis_stream_epoch", b"42") in forwarder.messages[0].headers


def test_records_are_the_same_as_kclpy_reads_them() -> None:
    packed = [
        {**record, "sequenceNumber": "7", "subSequenceNumber": sub, "partitionKey": key}
        for record, (sub, key) in zip(
            batch(b"", b"\xff\x00", b"{}" * 1000)["records"],
            [(None, "none"), (1, "\u00e5\U0001f600"), (2, "")],
            strict=True,
        )
    ]
    given = {"action": "processRecords", "records": packed, "millisBehindLatest": None}
    line = json.dumps(given)
    ours = msgspec.json.decode(line, type=Records).records
    theirs = json.loads(line, object_hook=message_decode).records
    for name in (
        "sequence_number",
        "sub_sequence_number",
        "partition_key",
        "timestamp_millis",
        "binary_data",
    ):
        assert [getattr(one, name) for one in ours] == [getattr(one, name) for one in theirs]


def test_a_partition_key_that_is_no_text_is_left_to_kclpy_and_stops_nothing() -> None:
    forwarder = Forwarder()
    given = batch(b"one")
    given["records"][0]["partitionKey"] = "half of \ud83d"
    assert talk(forwarder, INITIALIZE, given, saved())[-1] == done("processRecords")
    assert [(m.key, m.value) for m in forwarder.messages] == [(b"half of ?", b"one")]


def test_a_lost_lease_is_answered_without_a_checkpoint() -> None:
    assert talk(Forwarder(), INITIALIZE, {"action": "leaseLost"}) == [done("initialize"), done("leaseLost")]


def test_when_kafka_fails_the_process_ends_without_a_checkpoint_or_a_report_of_success() -> None:
    answers = talk(Forwarder(ForwardError("no acknowledgement")), INITIALIZE, batch(b"one"))
    assert answers == [done("initialize"), {"action": "ended"}]


def test_when_a_checkpoint_fails_the_process_ends() -> None:
    answers = talk(Forwarder(), INITIALIZE, batch(b"one"), saved("InvalidStateException"))
    assert answers[-1] == {"action": "ended"}
    assert done("processRecords") not in answers


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "child.json"
    unreachable = KafkaConfig("127.0.0.1:1")
    path.write_bytes(msgspec.json.encode(ChildConfig("system-logs", 42, unreachable, 0.0)))
    return path


def child(config: Path, *lines: dict[str, Any], before: str = "pass") -> "subprocess.CompletedProcess[str]":
    code = f"import sys; from streams.ingest import child; {before}; child.main(sys.argv[1])"
    return subprocess.run(
        [sys.executable, "-c", code, str(config)],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_child_ends_in_good_order_when_the_daemon_is_gone(config: Path) -> None:
    ended = child(config, INITIALIZE)
    assert ended.returncode == 0
    assert json.loads(ended.stdout) == done("initialize")


def test_whatever_prints_to_stdout_does_not_disturb_the_protocol(config: Path) -> None:
    noisy = (
        "import os; from streams.ingest.processor import ShardProcessor as P; real = P.initialize; "
        "P.initialize = lambda self, given: "
        "(print('{\"action\": \"noise\"}'), os.write(1, b'raw noise\\n'), real(self, given))"
    )
    ended = child(config, INITIALIZE, before=noisy)
    assert json.loads(ended.stdout) == done("initialize")
    assert "noise" in ended.stderr


def test_a_producer_that_refuses_ends_the_child_before_any_checkpoint(config: Path) -> None:
    ended = child(config, INITIALIZE, batch(b"x" * (MAX_MESSAGE_BYTES + 1)), saved())
    assert ended.returncode == EXIT_FAILED
    assert json.loads(ended.stdout) == done("initialize")
    assert "RecordTooLargeError" in ended.stderr
