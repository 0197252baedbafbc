"""What a command line names is refused in one short line if it cannot be meant."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.commands.dead_letters import dead_letters
from pipeline.commands.trace import trace
from pipeline.commands.verify import verify
from pipeline.errors import UserError
from pipeline.local.ports import free_port

LONG = "x" * 100_000
NO_UTF8 = "x\udcff"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("list", "--limit", "99999999999999999999999"), "is no number from 1 to 999999999999"),
        (("list", "--limit", "0"), "'0' is no number from 1"),
        (("list", "--limit", "9" * 5000), "is no number from 1"),
        (("list", "--event-id", NO_UTF8), "'x\\udcff' is no text in UTF-8"),
        (("list", "--event-id", "x\0"), "has a NUL character"),
        (("list", "--type", NO_UTF8), "is no text in UTF-8"),
        (("list", "--since", LONG), "is no date or instant"),
        (("show", f"customer-events/1/{NO_UTF8}/3/4"), "is no text in UTF-8"),
        (("show", LONG), "is no STREAM/EPOCH/SHARD/SEQUENCE/SUB"),
        (("discard", f"customer-events/{LONG}/s/3/4"), "EPOCH and SUB are whole numbers"),
        (("replay", f"customer-events/1/s/{LONG}"), "is no STREAM/EPOCH/SHARD/SEQUENCE/SUB"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_short_line(arguments: tuple[str, ...], told: str) -> None:
    done = CliRunner().invoke(dead_letters, arguments)
    assert done.exit_code == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert told in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(dead_letters, ("list",)), (trace, ("6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a01",)), (verify, ())],
)
def test_without_a_database_it_is_asked_whether_the_pipeline_runs(
    command: click.Command, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_POSTGRES_URL", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith("Postgres does not answer: ")
    assert str(done.exception).endswith("; does `pipeline up` run?")
