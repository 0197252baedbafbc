"""What `pipeline up` says of a process that has given up."""

from pathlib import Path

import pytest

from pipeline.commands.up import MESSAGE_CHARACTERS, has_given_up, last_message
from pipeline.local.supervisor import State

STAMP = "2026-11-24 02:07:08,123"


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (
            "starting\nthe topic raw.x is missing: run `pipeline topics`\n\n",
            "the topic raw.x is missing: run `pipeline topics`",
        ),
        (f"{STAMP} INFO up\n{STAMP} CRITICAL raw.x 3: it is a flood\n", "raw.x 3: it is a flood"),
        (f"{STAMP} CRITICAL raw.x 3: it is a flood\n{STAMP} INFO closing\n", "raw.x 3: it is a flood"),
        (f"{STAMP} ERROR of before\nthe rates cannot be read\n", "the rates cannot be read"),
        (f"{STAMP} INFO only this\n", "only this"),
    ],
)
def test_the_last_message_of_a_log_is_its_last_error_in_one_line(
    tmp_path: Path, log: str, message: str
) -> None:
    file = tmp_path / "process.log"
    file.write_text("a line of before\n" * 10_000 + log)
    assert last_message(file) == message


def test_a_long_message_is_cut_and_an_absent_one_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "process.log"
    assert "cannot be read" in last_message(file)
    file.write_text("\n")
    assert "is empty" in last_message(file)
    file.write_text("x" * 100_000)
    assert len(last_message(file)) < MESSAGE_CHARACTERS + len(str(file)) + 20


@pytest.mark.parametrize(
    ("state", "exit_code", "given_up"),
    [("EXITED", 78, True), ("EXITED", 0, False), ("RUNNING", 78, False), ("BACKOFF", 1, False)],
)
def test_what_ended_with_a_failure_and_is_not_started_again_has_given_up(
    state: str, exit_code: int, *, given_up: bool
) -> None:
    assert has_given_up(State("process", state, 0, 0, exit_code)) == given_up
