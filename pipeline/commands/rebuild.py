"""`pipeline rebuild`: silver again from bronze."""

import time
from datetime import date, datetime

import click
import psycopg

from pipeline.errors import CONFIGURATION, UserError
from pipeline.rebuild.quiet import quiet
from pipeline.rebuild.run import Rebuilt, rebuild_all, rebuild_visitors
from pipeline.sending import progress_bar
from pipeline.settings import Settings, load_settings
from sinks.rebuild import RETIRED, TABLES
from sinks.rebuild_source import bronze_rows, visitors_of_day
from streams.engine.crash import OperatorError


@click.command("rebuild")
@click.option(
    "--table", "only", multiple=True, type=click.Choice(TABLES), help="Only this table; repeatable."
)
@click.option(
    "--customer", "customers", multiple=True, help="Only this customer, with linked visitors; repeatable."
)
@click.option("--visitor", "visitors", multiple=True, help="Only this anonymous visitor; repeatable.")
@click.option(
    "--day",
    "days",
    multiple=True,
    type=click.DateTime(["%Y-%m-%d"]),
    help="Only visitors who have an event or a session on this day (UTC); repeatable.",
)
@click.option("--accept-flood", is_flag=True, help="Go on when most records are broken.")
@click.option("--accept-loss", is_flag=True, help="Go on when days of bronze are gone, and lose their facts.")
@click.option(
    "--recreate-topics",
    is_flag=True,
    help="Delete the Kafka topics and declare them with today's partitions.",
)
@click.option("--yes", is_flag=True, help="Do not ask before topics are deleted.")
def rebuild(
    *,
    only: tuple[str, ...],
    customers: tuple[str, ...],
    visitors: tuple[str, ...],
    days: tuple[datetime, ...],
    accept_flood: bool,
    accept_loss: bool,
    recreate_topics: bool,
    yes: bool,
) -> None:
    """Make silver again from bronze, beside the live tables, and put it in their place.

    Every record in bronze goes through today's rules again: one that was corrected before it was replayed as
    it was corrected; what was discarded stays discarded. The result equals the live tables but for
    loaded_at and updated_at, or is what they should be when rules or settings were changed.

    Workers that the local platform runs are paused meanwhile, others must be stopped before.
    """
    some = {*customers, *visitors}
    if only and (some or days):
        raise UserError("--table goes through all visitors: name either tables or visitors", exit_code=2)
    if recreate_topics and (only or some or days):
        raise UserError("--recreate-topics needs a whole rebuild: name nothing else", exit_code=2)
    settings = load_settings()
    if recreate_topics and not yes:
        click.confirm(
            f"Delete all topics of the pipeline on {settings.kafka_bootstrap}? Everything in them is in "
            f"Postgres, but programs of yours that read them lose what they have not read",
            abort=True,
        )
    began = time.monotonic()
    try:
        total, on_days = _look(settings, [day.date() for day in days])
        some |= on_days
        if days and not some:
            raise UserError("no visitor has an event or a session on that day: there is nothing to do")
        drained = bool(only or some or recreate_topics)
        with (
            quiet(settings, click.echo, drained=drained),
            progress_bar("rebuilding", total) as advance,
        ):
            if some:
                done = rebuild_visitors(
                    settings,
                    visitors=some,
                    accept_flood=accept_flood,
                    accept_loss=accept_loss,
                    advance=advance,
                )
            else:
                done = rebuild_all(
                    settings,
                    only=only,
                    accept_flood=accept_flood,
                    accept_loss=accept_loss,
                    recreate_topics=recreate_topics,
                    advance=advance,
                )
    except OperatorError as error:
        raise UserError(
            str(error).replace("pipeline process --accept-flood", "pipeline rebuild --accept-flood"),
            exit_code=CONFIGURATION,
        ) from error
    except psycopg.Error as error:
        raise UserError(f"Postgres says: {' '.join(str(error).split())}; run this again") from error
    _say_what_was_done(done, time.monotonic() - began)


def _look(settings: Settings, days: list[date]) -> tuple[int, set[str]]:
    """Give the number of records in bronze, and who has an event or a session on some days."""
    with psycopg.connect(settings.postgres_url.get_secret_value()) as connection:
        return bronze_rows(connection), set().union(*(visitors_of_day(connection, day) for day in days))


def _say_what_was_done(done: Rebuilt, seconds: float) -> None:
    click.echo(f"rebuilt from {done.records} records of bronze in {seconds:.0f} s")
    if done.letters_settled:
        click.echo(f"{done.letters_settled} dead letters have become facts")
    if done.kept_old:
        click.echo(
            f"the tables from before stay in the schema {RETIRED}, since something of yours was made on them "
            f"({done.kept_old}): make it again on silver, then drop that schema"
        )
