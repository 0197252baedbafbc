"""`pipeline sink`: a worker that writes to Postgres."""

import sys
import threading

import click

from pipeline.errors import CONFIGURATION, TRY_AGAIN, UserError
from pipeline.settings import Settings
from pipeline.workers import engine_config, run
from sinks.app import make_sinks
from sinks.migrate import MigrationError, check
from sinks.registry import open_database
from streams.engine.app import BatchApp, create_app
from streams.topics import SINK_GROUP


@click.command("sink")
def sink() -> None:
    """Run a worker: every topic to its tables in Postgres.

    Runs until SIGTERM or Ctrl-C. Any number of workers share the partitions.
    """
    sys.exit(run(make_app))


def make_app(settings: Settings) -> BatchApp:
    """Make the worker's app.

    Raises:
        UserError: the database does not answer, or its schema is behind.
        TopicsError: topics are missing or divided otherwise.
    """
    url = settings.postgres_url.get_secret_value()
    try:
        behind = check(url)
    except MigrationError as error:
        raise UserError(str(error), exit_code=TRY_AGAIN) from error
    if behind:
        raise UserError(behind, exit_code=CONFIGURATION)
    stopping = threading.Event()
    sinks = make_sinks(open_database(url, stop=stopping))
    return create_app(engine_config(settings, SINK_GROUP), sinks=sinks, on_stopping=stopping.set)
