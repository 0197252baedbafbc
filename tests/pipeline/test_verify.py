"""What verify says of gold, and to do about records that were counted before they were refused."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import pytest
from click.testing import CliRunner
from rich.console import Console

from pipeline.commands import verify as command
from pipeline.commands.verify import show
from pipeline.errors import TRY_AGAIN, UserError
from pipeline.refused import MOST_VISITORS, Refused
from pipeline.verify import Agreement, GoldCopy, Report
from pipeline.visitors import Visitor, visitor_of, who_of


def test_the_remedy_names_customers_and_visitors_by_their_options_as_a_shell_takes_them() -> None:
    refused = Refused(3, (Visitor("a", is_customer=True), Visitor("b c", is_customer=False)))
    assert refused.remedy == "pipeline rebuild --customer=a '--visitor=b c'"


def test_for_many_visitors_the_remedy_is_a_whole_rebuild() -> None:
    many = tuple(Visitor(str(number), is_customer=False) for number in range(MOST_VISITORS + 1))
    assert Refused(len(many), many).remedy == "pipeline rebuild"


@pytest.mark.parametrize(
    ("value", "visitor"),
    [
        (b'{"customer_id": "c", "anonymous_id": "a"}', "c"),
        (b'{"customer_id": null, "anonymous_id": "a"}', "a"),
        (b'{"product_id": "p"}', None),
        (b'{"customer_id": 7}', None),
        (b"\xff", None),
        (b'{"customer_id": "\\ud800"}', None),
        (b"[1]", None),
    ],
)
def test_a_records_visitor_is_its_customer_or_else_its_anonymous_id(
    value: bytes, visitor: str | None
) -> None:
    assert visitor_of(value) == visitor
    assert who_of(value) == (None if visitor is None else (visitor, visitor == "c"))


REPORT: Final = Report([], [], gold_is_built=True)
NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (replace(REPORT, gold_is_built=False), "gold is not built yet"),
        (replace(REPORT, gold_is_older=True), "gold is not compared: it is of an earlier run than the last"),
        (REPORT, "gold is not compared: Postgres has crashed since it was built; run `pipeline gold`"),
        (
            replace(REPORT, gold_copy=GoldCopy(NOON, NOON)),
            "gold is of its run at 2026-03-01 12:00:00.000 UTC, and",
        ),
        (
            replace(REPORT, gold_copy=GoldCopy(NOON, NOON - timedelta(days=1))),
            "at 2026-03-01 12:00:00.000 UTC, of what happened before 2026-02-28 12:00:00.000 UTC, and",
        ),
    ],
)
def test_the_figures_of_gold_are_told_with_the_run_they_are_of(report: Report, told: str) -> None:
    console = Console(file=io.StringIO(), width=200)
    show(report, console)
    assert told in console.file.getvalue()  # type: ignore[attr-defined]  # as it was made above


@pytest.mark.parametrize(
    ("records", "told"),
    [
        (1, "1 record was refused after sessions and profiles had counted it ("),
        (2, "2 records were refused after sessions and profiles had counted them ("),
    ],
)
def test_what_was_counted_and_refused_is_told_with_the_command(records: int, told: str) -> None:
    console = Console(file=io.StringIO(), width=300)
    show(replace(REPORT, refused=Refused(records, (Visitor("a", is_customer=True),))), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # as it was made above
    assert told in shown
    assert "  pipeline rebuild --customer=a\n" in shown


@pytest.mark.parametrize(("waiting", "code"), [(0, 1), (3, TRY_AGAIN)])
def test_what_differs_while_records_are_under_way_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, waiting: int, code: int
) -> None:
    lost = replace(REPORT, agreements=[Agreement("events", "facts", Decimal(5), "sessions", Decimal(2))])
    monkeypatch.setattr(command, "check_conservation", lambda _url: lost)
    monkeypatch.setattr(command, "_under_way", lambda _settings: waiting)
    done = CliRunner().invoke(command.verify, [])
    assert isinstance(done.exception, UserError)
    assert done.exception.exit_code == code
    assert ("3 records were under way" in str(done.exception)) == bool(waiting)
