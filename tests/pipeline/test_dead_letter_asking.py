"""Many letters are touched only after a question, and what is no patch is refused with what one is."""

import io
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.commands.dead_letters_replay import ASK_ABOVE, confirm, replay
from pipeline.errors import UserError


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_without_a_yes_nothing_is_touched(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(UserError, match="nothing was touched"):
        confirm(ASK_ABOVE + 1, "Send again", yes=False)


def test_a_yes_is_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    confirm(ASK_ABOVE + 1, "Send again", yes=False)
    assert f"Send again {ASK_ABOVE + 1} dead letters?" in capsys.readouterr().out


def test_few_letters_and_yes_need_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    confirm(ASK_ABOVE, "Discard", yes=False)
    confirm(10_000, "Discard", yes=True)


def test_with_nobody_to_ask_the_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UserError, match="--yes"):
        confirm(ASK_ABOVE + 1, "Discard", yes=False)


@pytest.mark.parametrize("given", ["17", "", "no-such-file.json", "x" * 5000, "."])
def test_what_is_no_patch_is_refused_with_what_one_is(given: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(replay, ["--patch", str(tmp_path) if given == "." else given])
    assert done.exit_code == 2
    assert "A patch is a JSON Patch like" in done.stderr
    assert "Errno" not in done.stderr
    assert len(done.stderr) < 800
