"""`pipeline status`: every hop."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

import click
from rich.table import Table

from pipeline.console import make_console
from pipeline.errors import UserError
from pipeline.local.attached import Stopped, stopped_workers
from pipeline.local.programs import GOLD, PRODUCE
from pipeline.parameters import SecondsType
from pipeline.settings import Settings, load_settings
from pipeline.status import Status, look, wait_idle

NOT_AWAITED: Final = frozenset({GOLD, PRODUCE})
"""Programs that may stand still while all that was sent gets through."""


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs; also gives the endpoints.")
@click.option("--wait-idle", "wait", is_flag=True, help="Wait until nothing is under way, then show.")
@click.option(
    "--timeout",
    type=SecondsType(),
    default=600.0,
    show_default=True,
    help="With --wait-idle: seconds after which to give up.",
)
def status(as_json: bool, wait: bool, timeout: float) -> None:
    """Show every hop: what waits, rates, ages, dead letters, the last gold run.

    With --wait-idle the exit code is 1 if something is still under way when the time is over, and at once
    when a worker does not run that nobody will start.
    """
    settings = load_settings()
    in_time = wait_idle(settings, timeout, meanwhile=end_in_vain(settings)) if wait else True
    found = look(settings)
    stopped = stopped_workers(settings)
    if as_json:
        reasons = {name: each.why for name, each in stopped.items()}
        click.echo(json.dumps(asdict(found) | {"stopped_workers": reasons}, default=str, indent=1))
    else:
        show(found)
        for name, each in stopped.items():
            click.echo(f"{name} DOES NOT RUN: {each.why}")
    if not in_time:
        raise UserError(f"not idle after {timeout:g} s")


def end_in_vain(settings: Settings) -> Callable[[], None]:
    """Give what raises UserError when it will never be idle; it says once when a rebuild is waited for."""
    is_told = False

    def look_at_workers() -> None:
        nonlocal is_told
        stopped = stopped_workers(settings)
        in_vain = why_in_vain(stopped)
        if in_vain:
            raise UserError(f"something is under way, and it stays so: {in_vain}")
        if not is_told and any(each.for_rebuild for each in stopped.values()):
            is_told = True
            click.echo("a rebuild is running and has paused workers: waiting for its end", err=True)

    return look_at_workers


def why_in_vain(stopped: Mapping[str, Stopped]) -> str | None:
    """Say which workers are needed and will not be started again by themselves; None if all will."""
    lines = [
        f"{name} does not run ({each.why})"
        for name, each in stopped.items()
        if not each.comes_back and name not in NOT_AWAITED
    ]
    return "; ".join(lines) or None


def show(found: Status) -> None:
    """Print the status as tables."""
    console = make_console()
    console.print(kinesis_table(found), kafka_table(found), ages_table(found))
    letters = ", ".join(f"{count} {state}" for state, count in found.dead_letters.items()) or "none"
    console.print(f"dead letters: {letters}", highlight=False)
    gold = (
        f"{found.gold.status}, began {found.gold.started_at:%Y-%m-%d %H:%M:%S}"
        if found.gold
        else "no run yet"
    )
    console.print(f"gold: {gold}", highlight=False)
    console.print("idle: nothing is under way" if found.idle else "under way", highlight=False)


def kinesis_table(found: Status) -> Table:
    """Give the streams."""
    table = _table("Kinesis", "stream", "shards", "waiting", "behind")
    for hop in found.kinesis:
        table.add_row(
            hop.stream, str(hop.shards), "yes" if hop.waiting else "no", f"{hop.behind_seconds:.1f} s"
        )
    return table


def kafka_table(found: Status) -> Table:
    """Give the topics by group."""
    table = _table("Kafka", "group", "topic", "lag", "records/s")
    for hop in found.kafka:
        table.add_row(hop.group, hop.topic, str(hop.lag), f"{hop.rate:.0f}")
    return table


def ages_table(found: Status) -> Table:
    """Give the ages of events by hop."""
    table = _table("Age of events since arrival", "after", "sampled", "p50", "p99", "newest")
    for age in found.ages:
        table.add_row(
            age.hop,
            str(age.events),
            f"{age.p50_seconds:.2f} s",
            f"{age.p99_seconds:.2f} s",
            f"{age.newest_at:%H:%M:%S}",
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    return table
