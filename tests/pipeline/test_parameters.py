"""What command lines may say; all else is refused with the exit code 2 and in words."""

import os
from datetime import date

import click
import pytest
from click.testing import CliRunner

from pipeline import cli
from pipeline.parameters import DayType, IdType, SecondsType

NO_TEXT = os.fsdecode(b"\xff")


@pytest.mark.parametrize("seconds", ["-1", "nan", "soon", ""])
def test_a_time_that_is_none_is_refused(seconds: str) -> None:
    done = CliRunner().invoke(cli.pipeline, ["status", "--wait-idle", "--timeout", seconds])
    assert done.exit_code == click.UsageError.exit_code
    assert "is no number of seconds, 0 or more" in done.stderr


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "fast"])
def test_a_rate_that_nothing_can_be_sent_at_is_refused(rate: str) -> None:
    done = CliRunner().invoke(cli.pipeline, ["up", "--rate", rate])
    assert done.exit_code == click.UsageError.exit_code
    assert "is no rate, a number above 0" in done.stderr


@pytest.mark.parametrize("option", ["--customer", "--visitor"])
@pytest.mark.parametrize(("value", "why"), [(NO_TEXT, "is no text"), ("", "is empty"), (" ", "is empty")])
def test_an_id_that_no_event_can_have_is_refused(option: str, value: str, why: str) -> None:
    done = CliRunner().invoke(cli.pipeline, ["rebuild", option, value])
    assert done.exit_code == click.UsageError.exit_code
    assert why in done.stderr


@pytest.mark.parametrize("day", ["yesterday", "2026-3-1", "2026-02-30", "20260301", "2026-03-01T00:00", ""])
def test_a_day_that_is_none_is_refused_in_the_form_it_has_to_have(day: str) -> None:
    done = CliRunner().invoke(cli.pipeline, ["rebuild", "--day", day])
    assert done.exit_code == click.UsageError.exit_code
    assert "is no day like 2026-03-01 (YYYY-MM-DD)" in done.stderr


def test_the_form_of_a_day_is_in_the_help() -> None:
    assert "--day YYYY-MM-DD" in CliRunner().invoke(cli.pipeline, ["rebuild", "--help"]).output


@pytest.mark.parametrize("option", ["--bronze-days", "--changes-days", "--hops-days"])
@pytest.mark.parametrize("days", ["0", "36501", "999999", "99999999999"])
def test_days_beyond_the_calendar_are_refused_with_their_limit(option: str, days: str) -> None:
    done = CliRunner().invoke(cli.pipeline, ["retention", "--dry-run", option, days])
    assert done.exit_code == click.UsageError.exit_code
    assert "1<=x<=36500" in done.stderr


def test_what_is_meant_is_read() -> None:
    assert SecondsType().convert("0.5", None, None) == 0.5
    assert DayType().convert("2026-02-28", None, None) == date(2026, 2, 28)
    assert IdType().convert("käufer 1", None, None) == "käufer 1"
