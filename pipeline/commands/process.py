"""`pipeline process`: a worker that cleans events, and keeps sessions and entities."""

import sys

import click

from pipeline.settings import Settings
from pipeline.stages import stages_of
from pipeline.workers import engine_config, run
from streams.engine.app import BatchApp, create_app
from streams.topics import PROCESS_GROUP


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
