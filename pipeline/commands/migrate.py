"""`pipeline migrate`: bring the database to the newest schema."""

import click

from pipeline.prepare import migrate_database, prepare_readers
from pipeline.settings import load_settings


@click.command("migrate")
def migrate() -> None:
    """Bring the database to the newest schema; nothing happens if it is there already."""
    settings = load_settings()
    applied = migrate_database(settings)
    for revision in applied:
        click.echo(f"applied {revision}")
    if not applied:
        click.echo("the schema is up to date")
    to_do = prepare_readers(settings)
    if to_do:
        click.echo(to_do, err=True)
