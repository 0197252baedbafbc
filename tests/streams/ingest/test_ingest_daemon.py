import shlex
import subprocess
from pathlib import Path

import pytest

from streams.ingest.daemon import Application, environment, find_jars, processor_script, properties
from streams.ingest.launcher import worker_id, worker_slot
from streams.ingest.source import (
    Aws,
    MissingStreamError,
    SlowError,
    SourceError,
    UnreachableError,
    check_record_size,
    may_be_same,
)

EMULATED = Aws("us-east-1", "http://127.0.0.1:4567", "http://127.0.0.1:4568")
REAL = Aws("eu-west-1")
APPLICATION = Application("pipeline", "system-logs", 1_700_000_000_123, "host-1")


def read(text: str) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in text.splitlines())  # type: ignore[arg-type]  # always two parts


def test_the_application_is_another_when_the_stream_is_made_again() -> None:
    assert read(properties(APPLICATION, REAL))["applicationName"] == "pipeline-system-logs-1700000000123"


def test_an_emulator_is_reached_at_its_endpoints() -> None:
    found = read(properties(APPLICATION, EMULATED))
    assert found["kinesisEndpoint"] == "http://127.0.0.1:4567"
    assert found["dynamoDBEndpoint"] == "http://127.0.0.1:4568"
    assert found["metricsLevel"] == "NONE"


def test_aws_is_found_by_its_region_with_the_users_credentials() -> None:
    found = read(properties(APPLICATION, REAL))
    assert found["regionName"] == "eu-west-1"
    assert not {name for name in found if name.endswith("Endpoint")}
    assert "failoverTimeMillis" not in found
    given = {"AWS_ACCESS_KEY_ID": "users", "PATH": "/bin"}
    assert environment(given, REAL) == {**given, "AWS_REGION": "eu-west-1"}
    assert environment(given, EMULATED)["AWS_ACCESS_KEY_ID"] == "local"


def test_nothing_is_skipped_and_the_name_stays() -> None:
    found = read(properties(APPLICATION, REAL))
    assert found["initialPositionInStream"] == "TRIM_HORIZON"
    assert found["workerId"] == "host-1"


@pytest.mark.parametrize("folder", ["plain", "with space", "it's $HOME `x`"])
def test_the_script_runs_its_child_from_any_path_and_marks_its_failure(tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    home.mkdir()
    python = home / "python"
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\ncat\nexit 3\n')
    python.chmod(0o755)
    (home / "processor").write_text(processor_script(str(python), home / "child.json"))
    ended = subprocess.run(
        shlex.split("/bin/sh processor"), cwd=home, input="in", capture_output=True, text=True, check=False
    )
    assert ended.stdout == f"-m|streams.ingest.child|{home / 'child.json'}|in"
    assert ended.returncode == 3
    assert (home / "failed").exists()


def test_the_jars_are_found() -> None:
    assert list(find_jars().glob("amazon-kinesis-client-3.*.jar"))


def test_workers_have_names_of_their_own_that_come_back(tmp_path: Path) -> None:
    with worker_slot(tmp_path) as first, worker_slot(tmp_path) as second:
        assert (first, second) == (1, 2)
        assert worker_id(tmp_path, first) != worker_id(tmp_path, second)
    with worker_slot(tmp_path) as again:
        assert again == 1
    assert worker_id(tmp_path, 1) != worker_id(tmp_path / "other", 1)


@pytest.mark.parametrize(
    ("error", "aws", "may_be"),
    [
        (UnreachableError(), EMULATED, False),  # it forgets all when it stops
        (SlowError(), EMULATED, True),
        (UnreachableError(), REAL, True),
        (SourceError(), REAL, True),
        (MissingStreamError(), REAL, False),
    ],
)
def test_only_an_emulator_out_of_reach_counts_as_another_stream(
    error: SourceError, aws: Aws, may_be: bool
) -> None:
    assert may_be_same(error, aws) is may_be


def test_a_stream_whose_records_may_not_fit_kafka_is_refused() -> None:
    check_record_size("system-logs", {})
    check_record_size("system-logs", {"MaxRecordSizeInKiB": 1024})
    with pytest.raises(SourceError, match="10240 KiB"):
        check_record_size("system-logs", {"MaxRecordSizeInKiB": 10240})
