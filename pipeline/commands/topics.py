"""`pipeline topics`: declare the Kafka topics."""

import click

from pipeline.prepare import make_topics
from pipeline.settings import load_settings


@click.command("topics")
def topics() -> None:
    """Create the topics that are missing, and set the retention of those that are there."""
    settings = load_settings()
    made = make_topics(settings)
    for name in made:
        click.echo(f"created {name} with {settings.partitions} partitions")
    if not made:
        click.echo("all topics are there")
