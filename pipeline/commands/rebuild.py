"""`pipeline rebuild`: silver again from bronze."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from threading import Event

import click
import psycopg

from pipeline.errors import CONFIGURATION, INTERRUPTED, UserError
from pipeline.local.signals import stop_by_signals
from pipeline.parameters import DayType, IdType
from pipeline.postgres import not_answering
from pipeline.rebuild.agreement import require_agreement
from pipeline.rebuild.known import unknown_visitors
from pipeline.rebuild.quiet import quiet
from pipeline.rebuild.run import Rebuilt, rebuild_all, rebuild_visitors
from pipeline.sending import progress_bar
from pipeline.settings import Settings, load_settings
from sinks.rebuild import RETIRED, TABLES
from sinks.rebuild_source import bronze_rows, visitors_of_day
from streams.engine.crash import OperatorError

CONNECT_SECONDS = 5


@click.command("rebuild")
@click.option(
    "--table", "only", multiple=True, type=click.Choice(TABLES), help="Only this table; repeatable."
)
@click.option(
    "--customer",
    "customers",
    multiple=True,
    type=IdType(),
    help="Only this customer, with linked visitors; repeatable.",
)
@click.option(
    "--visitor", "visitors", multiple=True, type=IdType(), help="Only this anonymous visitor; repeatable."
)
@click.option(
    "--day",
    "days",
    multiple=True,
    type=DayType(),
    help="Only visitors who have an event or a session on this day (UTC); repeatable.",
)
@click.option("--accept-flood", is_flag=True, help="Go on when most records are broken.")
@click.option("--accept-loss", is_flag=True, help="Go on when days of bronze are gone, and lose their facts.")
@click.option(
    "--recreate-topics",
    is_flag=True,
    help="Delete the Kafka topics and declare them with today's partitions.",
)
@click.option("--yes", is_flag=True, help="Do not ask before topics are deleted or a setting is taken up.")
def rebuild(
    *,
    only: tuple[str, ...],
    customers: tuple[str, ...],
    visitors: tuple[str, ...],
    days: tuple[date, ...],
    accept_flood: bool,
    accept_loss: bool,
    recreate_topics: bool,
    yes: bool,
) -> None:
    """Make silver again from bronze, beside the live tables, and put it in their place.

    Every record in bronze goes through today's rules again: one that was corrected before it was replayed as
    it was corrected; what was discarded stays discarded. The result equals the live tables but for
    loaded_at and updated_at, or is what they should be when rules or settings were changed.

    Workers that the local platform runs are paused meanwhile, others must be stopped before. Ctrl-C changes
    nothing before the result is put in place, and then leaves what a second run completes.
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
    changing = Event()
    with _told(changing):
        some |= _look(settings, customers + visitors, days)
        afterwards = require_agreement(
            settings,
            lambda question: yes or click.confirm(question, abort=True),
            some_only=bool(some),
            recreate_topics=recreate_topics,
        )
        drained = bool(only or some or recreate_topics)
        with (
            quiet(settings, click.echo, drained=drained),
            progress_bar("rebuilding", _rows(settings)) as advance,
        ):
            if some:
                done = rebuild_visitors(
                    settings,
                    visitors=some,
                    accept_flood=accept_flood,
                    accept_loss=accept_loss,
                    advance=advance,
                    changing=changing.set,
                )
            else:
                done = rebuild_all(
                    settings,
                    only=only,
                    accept_flood=accept_flood,
                    accept_loss=accept_loss,
                    recreate_topics=recreate_topics,
                    advance=advance,
                    changing=changing.set,
                )
    _say_what_was_done(done, time.monotonic() - began)
    if afterwards:
        click.echo(afterwards)


@contextmanager
def _told(changing: Event) -> Iterator[None]:
    """Say in one line what has ended a rebuild; `changing` is set when live tables may have been changed."""
    try:
        with stop_by_signals():
            yield
    except KeyboardInterrupt:
        raise UserError(interruption(is_changing=changing.is_set()), exit_code=INTERRUPTED) from None
    except OperatorError as error:
        raise UserError(
            str(error).replace("pipeline process --accept-flood", "pipeline rebuild --accept-flood"),
            exit_code=CONFIGURATION,
        ) from error
    except psycopg.errors.UndefinedTable as error:
        raise UserError("the database has no tables yet: run `pipeline migrate` or `pipeline up`") from error
    except psycopg.Error as error:
        if error.sqlstate is None and not changing.is_set():
            raise not_answering(error) from error
        raise UserError(f"Postgres says: {' '.join(str(error).split())}; run this again") from error


def interruption(*, is_changing: bool) -> str:
    """Say what an interruption has left."""
    if is_changing:
        return "interrupted while the result was put in place: run this again, which completes it"
    return "interrupted: nothing was changed"


def _look(settings: Settings, named: tuple[str, ...], days: tuple[date, ...]) -> set[str]:
    """Give who has an event or a session on some days.

    Raises:
        UserError: nobody has, or there is nothing of somebody who was named.
    """
    with (
        psycopg.connect(
            settings.postgres_url.get_secret_value(), connect_timeout=CONNECT_SECONDS
        ) as connection,
        progress_bar("looking in bronze", None) as advance,
    ):
        unknown = unknown_visitors(connection, named, advance) if named else set()
        if unknown:
            shown = ", ".join(sorted(unknown))
            raise UserError(f"bronze has no record of {shown}: are the ids right? Nothing was changed")
        found = set().union(*(visitors_of_day(connection, day) for day in days))
    if days and not named and not found:
        raise UserError("no visitor has an event or a session on that day: there is nothing to do")
    return found


def _rows(settings: Settings) -> int:
    with psycopg.connect(settings.postgres_url.get_secret_value()) as connection:
        return bronze_rows(connection)


def _say_what_was_done(done: Rebuilt, seconds: float) -> None:
    click.echo(f"rebuilt from {done.records} records of bronze in {seconds:.0f} s")
    if done.letters_settled:
        click.echo(f"{done.letters_settled} dead letters have become facts")
    if done.kept_old:
        click.echo(
            f"the tables from before stay in the schema {RETIRED}, since something of yours was made on them "
            f"({done.kept_old}): make it again on silver, then drop that schema"
        )
