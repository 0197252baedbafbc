"""`pipeline verify`: conservation, as a table; with ledgers, every row of silver."""

import json
from datetime import UTC
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipeline.console import make_console
from pipeline.dead_letters.show import instant
from pipeline.errors import TRY_AGAIN, UserError
from pipeline.reconcile import Reconciliation, oracle_config, reconcile
from pipeline.sending import progress_bar
from pipeline.settings import Settings, load_settings
from pipeline.status import PROCESSED, SUNK
from pipeline.verify import Report, check_conservation
from producer.run import now
from streams.lag import topic_lags
from streams.topics import PROCESS_GROUP, SINK_GROUP, KafkaUnreachableError

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
@click.option(
    "--ledger",
    "ledgers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Of `produce` or `demo`: compare every field of silver with what was sent. May be given again.",
)
@click.option(
    "--complete", is_flag=True, help="The ledgers name all that was ever sent: other rows are too many."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(ledgers: tuple[Path, ...], complete: bool, as_json: bool) -> None:
    """Check that nothing was lost, doubled or invented, and that all layers have the same money.

    Exact when nothing is under way: see `pipeline status --wait-idle`. Exit code 1 on any difference; 75 if
    records are under way that may explain it.

    With --ledger also every row and field of silver is compared with what the ledger's events must give.
    """
    if complete and not ledgers:
        raise click.UsageError("--complete is for --ledger")
    settings = load_settings()
    under_way = _under_way(settings)
    report = check_conservation(settings.postgres_url.get_secret_value())
    found = _reconcile(settings, ledgers, complete=complete, quiet=as_json) if ledgers else None
    if as_json:
        values = as_values(report) | ({"ledger": found.as_values()} if found else {})
        click.echo(json.dumps(values, default=str, indent=1))
    else:
        console = make_console()
        show(report, console)
        if found:
            show_reconciliation(found, console)
    if not report.is_conserved or (found and not found.agrees):
        if under_way:
            raise UserError(
                f"{_records(under_way)} under way between topics and tables, which may be all that differs "
                f"above: `pipeline status --wait-idle`, then this again",
                exit_code=TRY_AGAIN,
            )
        raise UserError("not conserved: see what differs above")


def _under_way(settings: Settings) -> int:
    """Give how many records wait in Kafka or are worked on; 0 also if Kafka does not answer."""
    try:
        lags = [
            *topic_lags(settings.kafka, PROCESS_GROUP, PROCESSED),
            *topic_lags(settings.kafka, SINK_GROUP, SUNK),
        ]
    except KafkaUnreachableError:
        return 0
    return sum(lag.lag for lag in lags)


def _reconcile(
    settings: Settings, ledgers: tuple[Path, ...], *, complete: bool, quiet: bool
) -> Reconciliation:
    with progress_bar("comparing", None, quiet=quiet) as progress:
        return reconcile(
            settings.postgres_url.get_secret_value(),
            ledgers,
            oracle_config(settings),
            others_until=None if complete else now(),
            progress=progress,
        )


def as_values(report: Report) -> dict[str, object]:
    """Give the report as JSON has it."""
    return {
        "conserved": report.is_conserved,
        "gold_is_built": report.gold_is_built,
        "gold_copied_at": report.gold_copy.copied_at if report.gold_copy else None,
        "gold_as_of": report.gold_copy.as_of if report.gold_copy else None,
        "gold_is_older": report.gold_is_older,
        "days": [{**day._asdict(), "conserved": day.is_conserved} for day in report.days],
        "agreements": [{**pair._asdict(), "holds": pair.holds} for pair in report.agreements],
        "left_alone": report.left_alone,
        "remedy": report.refused.remedy if report.refused else None,
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
    if report.refused:
        console.print(
            f"{_records(report.refused.records)} refused after sessions and profiles had counted "
            f"{'it' if report.refused.records == 1 else 'them'} (`pipeline dead-letters list --stage sink "
            f"--status all` has all of those), and these still differ. This puts it right:\n"
            f"  {report.refused.remedy}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if report.left_alone:
        console.print(
            f"events older on arrival than PIPELINE_SESSION_RETENTION_DAYS: {report.left_alone}. "
            "They are facts, but in no session until `pipeline rebuild`",
            highlight=False,
            soft_wrap=True,
        )
    console.print(_gold(report), highlight=False, soft_wrap=True)


def _records(number: int) -> str:
    return "1 record was" if number == 1 else f"{number} records were"


def _gold(report: Report) -> str:
    if not report.gold_is_built:
        return "gold is not built yet, so it is not compared: run `pipeline gold`"
    copy = report.gold_copy
    if report.gold_is_older:
        return (
            "gold is not compared: it is of an earlier run than the last, which goes on or was not published "
            "(see `pipeline status`); run `pipeline gold`"
        )
    if copy is None:
        return "gold is not compared: Postgres has crashed since it was built; run `pipeline gold`"
    copied_at, as_of = (each.astimezone(UTC) for each in copy)
    since = "" if as_of == copied_at else f", of what happened before {instant(as_of)}"
    return f"gold is of its run at {instant(copied_at)}{since}, and is compared with the facts of then"


def show_reconciliation(found: Reconciliation, console: Console) -> None:
    """Print what the ledgers' events must give against what is there, with examples of each difference."""
    table = Table(title="Every field of silver, by what was sent", title_justify="left")
    for heading in ("table", "expected", "found", "missing", "extra", "differing", "left out", ""):
        table.add_column(heading)
    for one in found.tables:
        counts = (one.expected, one.found, one.missing, one.extra, one.differing, one.left_out)
        table.add_row(one.table, *map(str, counts), _mark(one.agrees))
    console.print(table)
    for example in found.differences:
        console.print(f"  {example}", highlight=False, markup=False, soft_wrap=True)


def _mark(is_right: bool) -> str:
    return "ok" if is_right else "DIFFERS"
