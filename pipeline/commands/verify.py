"""`pipeline verify`: conservation, as a table."""

import json

import click
from rich.console import Console
from rich.table import Table

from pipeline.console import make_console
from pipeline.errors import UserError
from pipeline.settings import load_settings
from pipeline.verify import Report, check_conservation

COUNTS = (
    "bronze",
    "facts",
    "duplicates",
    "dead_letters",
    "replayed",
    "lost",
    "doubled",
    "facts_without_bronze",
)


@click.command("verify")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(as_json: bool) -> None:
    """Check that nothing was lost, doubled or invented, and that all layers have the same money.

    Exact when nothing is under way: see `pipeline status --wait-idle`. Exit code 1 on any difference.
    """
    report = check_conservation(load_settings().postgres_url.get_secret_value())
    if as_json:
        click.echo(json.dumps(as_values(report), default=str, indent=1))
    else:
        show(report, make_console())
    if not report.is_conserved:
        raise UserError("not conserved: see what differs above")


def as_values(report: Report) -> dict[str, object]:
    """Give the report as JSON has it."""
    return {
        "conserved": report.is_conserved,
        "gold_is_built": report.gold_is_built,
        "days": [{**day._asdict(), "conserved": day.is_conserved} for day in report.days],
        "agreements": [{**pair._asdict(), "holds": pair.holds} for pair in report.agreements],
    }


def show(report: Report, console: Console) -> None:
    """Print the report as tables."""
    days = Table(title="What became of everything that arrived", title_justify="left")
    for heading in ("stream", "day", *(name.replace("_", " ") for name in COUNTS), ""):
        days.add_column(heading)
    for day in report.days:
        counts = (str(getattr(day, name)) for name in COUNTS)
        days.add_row(day.stream, str(day.day), *counts, _mark(day.is_conserved))
    pairs = Table(title="The same figures in every layer", title_justify="left")
    for heading in ("figure", "in", "is", "in", "is", ""):
        pairs.add_column(heading)
    for pair in report.agreements:
        pairs.add_row(
            pair.what, pair.one, f"{pair.of_one}", pair.other, f"{pair.of_other}", _mark(pair.holds)
        )
    console.print(days, pairs)
    if not report.gold_is_built:
        console.print("gold is not built yet, so it is not compared: run `pipeline gold`", highlight=False)


def _mark(is_right: bool) -> str:
    return "ok" if is_right else "DIFFERS"
