"""`pipeline migrate`: bring the database to the newest schema."""

import click

from pipeline.prepare import migrate_database
from pipeline.settings import load_settings


@click.command("migrate")
def migrate() -> None:
    """Bring the database to the newest schema; nothing happens if it is there already."""
    applied = migrate_database(load_settings())
    for revision in applied:
        click.echo(f"applied {revision}")
    if not applied:
        click.echo("the schema is up to date")
