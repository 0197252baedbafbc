"""`pipeline process`: a worker that cleans events, and keeps sessions and entities."""

import sys
from collections.abc import Sequence
from datetime import timedelta

import click

from pipeline.errors import CONFIGURATION, UserError
from pipeline.settings import Settings
from pipeline.workers import PROCESS_GROUP, engine_config, run
from processors.rates import RatesError
from processors.stages import ProcessingConfig, make_stages
from streams.engine.app import BatchApp, changelog_topics, create_app
from streams.engine.batch import Stage
from streams.topics import Topic


@click.command("process")
@click.option("--accept-flood", is_flag=True, help="Go on when most records of a topic are broken.")
def process(accept_flood: bool) -> None:
    """Run a worker: raw events to clean events, sessions and entities.

    Runs until SIGTERM or Ctrl-C. Any number of workers share the partitions.
    """
    sys.exit(run(lambda settings: make_app(settings, accept_flood=accept_flood)))


def make_app(settings: Settings, *, accept_flood: bool = False) -> BatchApp:
    """Make the worker's app.

    Raises:
        UserError: the exchange rates cannot be read.
        TopicsError: topics are missing or divided otherwise.
    """
    stages = stages_of(settings, accept_flood=accept_flood)
    return create_app(engine_config(settings, PROCESS_GROUP), stages=stages)


def stages_of(settings: Settings, *, accept_flood: bool = False) -> Sequence[Stage]:
    """Make the stages; raises UserError when the exchange rates cannot be read."""
    try:
        return make_stages(
            ProcessingConfig(
                rates_file=settings.rates_file,
                base_currency=settings.base_currency,
                gap=timedelta(seconds=settings.session_gap_seconds),
                email_secret=settings.email_hash_secret.get_secret_value().encode(),
                own_hosts=settings.own_hosts,
                accept_flood=accept_flood,
            )
        )
    except RatesError as error:
        raise UserError(f"{error} (PIPELINE_RATES_FILE)", exit_code=CONFIGURATION) from error


def changelogs(settings: Settings) -> list[Topic]:
    """Give the changelogs that the worker's tables need, to be declared."""
    return changelog_topics(PROCESS_GROUP, stages_of(settings))
