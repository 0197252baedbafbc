import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline import cli
from pipeline.errors import INTERRUPTED, LocalError, UserError
from pipeline.local.ports import free_port
from pipeline.settings import Settings, SettingsError
from pipeline.status import kinesis_hops
from streams.topics import KafkaUnreachableError, TopicsError


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PIPELINE_HOME": str(cwd / "home"), **environment},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(cli.pipeline, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert name in cli.SUMMARIES


def test_the_list_of_commands_is_shown_without_importing_them() -> None:
    code = (
        "import sys, runpy; sys.argv = ['pipeline', '--help']\n"
        "try: runpy.run_module('pipeline.cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'faust', 'sqlalchemy', 'confluent_kafka', 'dbt', 'boto3', 'pydantic', 'moto'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, summary in cli.SUMMARIES.items():
        assert name in done.stdout
        assert summary.split()[0] in done.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli.pipeline, ["nonsense"]).exit_code == click.UsageError.exit_code


def test_errors_that_speak_to_the_user_have_their_exit_codes() -> None:
    assert cli.exit_code(LocalError("x", exit_code=5)) == 5
    assert cli.exit_code(SettingsError("x")) == 78
    assert cli.exit_code(TopicsError("x")) == 78
    assert cli.exit_code(KafkaUnreachableError("x")) == 1
    assert cli.exit_code(KeyError("x")) is None


def test_wrong_settings_are_all_named_without_a_traceback(tmp_path: Path) -> None:
    done = run("topics", cwd=tmp_path, PIPELINE_PARTITIONS="none", PIPELINE_KAFKA_REPLICATION="0")
    assert done.returncode == 78
    assert "PIPELINE_PARTITIONS" in done.stderr
    assert "PIPELINE_KAFKA_REPLICATION" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PIPELINE_POSTGRES_URL", "postgresql://nobody@127.0.0.1:{}/none"),
        ("PIPELINE_KINESIS_ENDPOINT", "http://127.0.0.1:{}"),
        ("PIPELINE_KAFKA_BOOTSTRAP", "127.0.0.1:{}"),
    ],
)
def test_up_says_in_one_line_that_a_given_service_is_down(tmp_path: Path, variable: str, value: str) -> None:
    done = run("up", cwd=tmp_path, **{variable: value.format(free_port())})
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert variable in done.stderr


def test_up_is_refused_outside_dev(tmp_path: Path) -> None:
    done = run("up", cwd=tmp_path, PIPELINE_ENVIRONMENT="prod", PIPELINE_EMAIL_HASH_SECRET="set")
    assert done.returncode == 78
    assert "PIPELINE_ENVIRONMENT=dev" in done.stderr


def test_reset_asks_first(tmp_path: Path) -> None:
    (tmp_path / "home" / "kafka").mkdir(parents=True)
    assert run("reset", cwd=tmp_path).returncode == 1
    assert (tmp_path / "home" / "kafka").exists()
    assert run("reset", "--yes", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "home").exists()


class Deaf:
    """A server that takes connections and never answers."""

    def __init__(self) -> None:
        self.socket = self.caller = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def wait_for_somebody(self) -> None:
        self.socket.settimeout(30)
        self.caller, _ = self.socket.accept()

    def close(self) -> None:
        self.caller.close()
        self.socket.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    server = Deaf()
    yield server
    server.close()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let programs heed SIGINT also when the tests run in the background, where a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rebuild"], "pipeline: interrupted: nothing was changed"),
        (["retention", "--dry-run"], "pipeline: interrupted"),
    ],
)
def test_an_interruption_is_told_in_one_line_and_by_its_exit_code(
    tmp_path: Path, deaf: Deaf, arguments: list[str], message: str
) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PIPELINE_POSTGRES_URL": f"postgresql://a@127.0.0.1:{deaf.port}/x"},
    )
    deaf.wait_for_somebody()
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == INTERRUPTED
    assert errors.strip() == message


@pytest.mark.usefixtures("ctrl_c")
def test_an_interruption_at_a_question_is_one(tmp_path: Path) -> None:
    (tmp_path / "home" / "kafka").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "pipeline.cli", "reset"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PIPELINE_HOME": "home"},
    ) as asking:
        assert asking.stdout is not None
        assert asking.stdout.read(5) == b"Throw"
        asking.send_signal(signal.SIGINT)
        asking.wait(30)
    assert asking.returncode == INTERRUPTED
    assert (tmp_path / "home" / "kafka").exists()


@pytest.mark.parametrize(
    ("arguments", "service"),
    [
        (["status"], "Kafka"),
        (["rebuild"], "Postgres"),
        (["retention", "--dry-run"], "Postgres"),
    ],
)
def test_a_service_that_is_not_there_is_told_at_once_and_how_to_start_it(
    tmp_path: Path, arguments: list[str], service: str
) -> None:
    nobody = free_port()
    began = time.monotonic()
    done = run(
        *arguments,
        cwd=tmp_path,
        PIPELINE_POSTGRES_URL=f"postgresql://nobody@127.0.0.1:{nobody}/none",
        PIPELINE_KAFKA_BOOTSTRAP=f"127.0.0.1:{nobody}",
        PIPELINE_KINESIS_ENDPOINT=f"http://127.0.0.1:{nobody}",
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"pipeline: {service} does not answer")
    assert "does `pipeline up` run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "settings",
    [
        {"PIPELINE_KINESIS_ENDPOINT": "http://127.0.0.1:1"},
        {"AWS_EC2_METADATA_DISABLED": "true"},  # AWS itself, without credentials
    ],
)
def test_kinesis_that_is_not_there_is_told_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^Kinesis does not answer: .*; does `pipeline up` run\?$"):
        kinesis_hops(Settings())
