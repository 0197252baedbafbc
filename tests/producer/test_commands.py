"""`pipeline produce` and `pipeline load`, as processes and in this one, against the real emulator."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.commands.load import load
from pipeline.commands.produce import produce
from pipeline.errors import UserError
from pipeline.local.platform import LocalPlatform
from producer.kinesis import kinesis_client
from producer.ledger import read_ledger, summarise_ledger

LOG = b'{"event_type":"log","service":"web"}'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def emulated(home: Path, platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_KINESIS_ENDPOINT", str(platform.kinesis_endpoint))
    return home


def run_produce(*arguments: str) -> Result:
    return CliRunner().invoke(produce, list(arguments))


def run_load(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(load, list(arguments), input=stdin)


@pytest.mark.real
def test_a_history_is_sent_and_its_ledger_agrees_with_the_summary(emulated: Path) -> None:
    result = run_produce("--count", "2000", "--seed", "4", "--broken", "0.02", "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    ledger = Path(summary["ledger"])
    assert ledger.parent == emulated / "ledger"
    counted = summarise_ledger(read_ledger(ledger))
    assert summary["records"] == counted.records == 2000
    assert summary["streams"] == dict(counted.streams)
    assert summary["reasons"] == dict(counted.reasons)
    assert (summary["broken"], summary["duplicates"], summary["late"]) == (40, 20, counted.late)
    assert (summary["seed"], summary["stopped"]) == (4, False)


@pytest.mark.real
def test_the_seed_and_the_end_are_shown_and_make_the_same_again(emulated: Path, tmp_path: Path) -> None:
    first = run_produce("--count", "300", "--ledger", "first.jsonl", "--end", "2026-01-01")
    assert first.exit_code == 0
    assert first.stdout.startswith("300 records sent in ")
    assert len(first.stdout.splitlines()) == 1
    seed = first.stderr.split()[1].rstrip(",")
    run_produce("--count", "300", "--ledger", "again.jsonl", "--end", "2026-01-01", "--seed", seed)
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    assert not (emulated / "ledger").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "5", "--days", "3"], "--rate is for events that happen now"),
        (["--count", "0"], "at least 1"),
        (["--broken", "0.9"], "share of broken"),
        (["--end", "soon"], "no date or instant"),
    ],
)
@pytest.mark.usefixtures("home")
def test_contradictions_are_told(arguments: list[str], message: str) -> None:
    result = run_produce(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.usefixtures("home")
def test_wrong_settings_are_a_matter_of_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PARTITIONS", "none")
    for result in (run_produce("--count", "1"), run_load("-", stdin=LOG)):
        assert isinstance(result.exception, UserError)
        assert result.exception.exit_code == 78
        assert "PIPELINE_PARTITIONS" in str(result.exception)


@pytest.mark.real
@pytest.mark.usefixtures("emulated")
def test_files_are_loaded_with_a_summary(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LOG + b"\n\nbroken\n" + LOG)
    (tmp_path / "b.gz").write_bytes(gzip.compress(LOG))
    result = run_load("a.jsonl", "b.gz")
    assert result.exit_code == 0
    assert result.stdout.startswith("4 records sent in ")
    assert "1 of no known event type, which become dead letters (at a.jsonl:3)" in result.stdout
    assert "1 empty lines skipped" in result.stdout
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.real
@pytest.mark.usefixtures("emulated")
def test_standard_input_is_loaded_and_summed_up_as_json() -> None:
    result = run_load("-", "--json", "--sort", "--stream", "system-logs", stdin=LOG + b"\n{")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert (summary["records"], summary["unreadable"]) == (2, 1)
    assert summary["streams"] == {"system-logs": 2}


@pytest.mark.real
@pytest.mark.usefixtures("emulated")
def test_lines_that_stay_behind_fail_the_load(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LOG + b"\n" + LOG[:-1] + b" " * 1024 * 1024 + b"}\n" + LOG)
    result = run_load("a.jsonl")
    assert result.exit_code == 1
    assert "2 records sent" in result.stdout
    assert "1 NOT sent, being over 1 MiB with their partition key (at a.jsonl:2)" in result.stdout


@pytest.mark.usefixtures("home")
def test_a_missing_file_is_one_line() -> None:
    result = run_load("nowhere.jsonl")
    assert isinstance(result.exception, UserError)
    assert (
        str(result.exception)
        == "nowhere.jsonl cannot be read: No such file or directory (0 records were sent)"
    )


def start_produce(ledger: Path, *arguments: str) -> subprocess.Popen[str]:
    code = "from pipeline.commands.produce import produce; produce()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "--ledger", str(ledger), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )


def wait_for_size(ledger: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not ledger.exists() or ledger.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.real
@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_many_were_sent(tmp_path: Path, stop: signal.Signals) -> None:
    ledger = tmp_path / "run.jsonl"
    with start_produce(ledger, "--rate", "200", "--count", "100000", "--seed", "1") as process:
        wait_for_size(ledger, 20_000)
        process.send_signal(stop)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    sent = sum(1 for _ in read_ledger(ledger))
    assert out.startswith(f"stopped: {sent} records sent in ")
    assert "Traceback" not in err


@pytest.mark.real
@pytest.mark.usefixtures("emulated")
def test_nothing_is_in_the_ledger_of_a_killed_run_that_was_not_sent(
    tmp_path: Path, platform: LocalPlatform
) -> None:
    ledger = tmp_path / "run.jsonl"
    seed = str(time.time_ns() % 10**9)
    with start_produce(ledger, "--count", "30000", "--seed", seed) as process:
        wait_for_size(ledger, 1_000_000)
        process.kill()
        process.communicate(timeout=30)
    lines = [line for line in read_ledger(ledger) if line.stream == "product-events"]
    client = kinesis_client(
        region=platform.settings.aws_region, endpoint=platform.kinesis_endpoint, local=True
    )
    arrived = set()
    for shard in client.list_shards(StreamName="product-events")["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName="product-events", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while (answer := client.get_records(ShardIterator=iterator))["Records"]:
            arrived |= {record["Data"] for record in answer["Records"]}
            iterator = answer["NextShardIterator"]
    assert lines
    assert {line.value for line in lines} <= arrived
