"""`pipeline quality`: run the quality checks on what was built last, and show them."""

import json
import sys
from collections import Counter
from dataclasses import asdict

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pipeline.console import make_console
from pipeline.errors import UserError
from pipeline.gold.build import check_quality
from pipeline.gold.checks import Check
from pipeline.settings import load_settings


@click.command("quality")
@click.option("--all", "show_all", is_flag=True, help="Show those that hold, too.")
@click.option("--json", "as_json", is_flag=True, help="Print all checks as a JSON array.")
def quality(*, show_all: bool, as_json: bool) -> None:
    """Check silver's freshness, and every rule that dbt's tests hold of what was built last.

    That is what is in gold, or, after a build that failed, what was not let into it.
    Outcomes are kept with their history in ops.ops_quality_checks, failing rows with them. Exit code 1 if a
    check of severity error does not hold; warnings are only shown.
    """
    settings = load_settings()
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("checking", total=None)
        checks = check_quality(
            settings,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        click.echo(json.dumps([_as_values(check) for check in checks], default=str, indent=1))
    else:
        show(checks, make_console(), show_all=show_all)
    failing = sum(check.fails for check in checks)
    if failing:
        raise UserError(f"{failing} of {len(checks)} checks do not hold")


def _as_values(check: Check) -> dict[str, object]:
    values = asdict(check)
    del values["query"]
    return values


def show(checks: list[Check], console: Console, *, show_all: bool) -> None:
    """Print checks, those that do not hold first, and how many there are of each dimension."""
    held = Counter(check.dimension for check in checks if check.passed)
    asked = Counter(check.dimension for check in checks)
    sums = Table(title="Quality", title_justify="left")
    for heading in ("dimension", "checks", "hold"):
        sums.add_column(heading)
    for dimension in sorted(asked):
        sums.add_row(dimension, str(asked[dimension]), str(held[dimension]))
    console.print(sums)
    shown = sorted(
        (check for check in checks if show_all or not check.passed),
        key=lambda check: (check.passed, check.severity, check.name),
    )
    if not shown:
        return
    table = Table(title="All checks" if show_all else "What does not hold", title_justify="left")
    for heading in ("check", "table", "dimension", "is", "must not be", ""):
        table.add_column(heading, overflow="fold")
    for check in shown:
        value = "-" if check.value is None else f"{check.value:g}"
        mark = "[green]ok[/]" if check.passed else "[red]error[/]" if check.fails else "[yellow]warn[/]"
        table.add_row(check.name, check.table or "", check.dimension, value, check.threshold, mark)
    console.print(table)
    for check in shown:
        for row in check.failing_rows[:3]:
            console.print(f"  {check.name}: {json.dumps(row, default=str)}", markup=False, highlight=False)
        if check.message:
            console.print(f"  {check.name}: {check.message}", markup=False, highlight=False)
