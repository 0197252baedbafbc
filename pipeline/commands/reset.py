"""`pipeline reset`: throw away the local platform's state."""

import click

from pipeline.local.home import discard
from pipeline.settings import load_settings


@click.command("reset")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Throw away what the local platform keeps: Kafka's and Postgres' data, workers' state, logs.

    Services that you gave by URL are left alone.
    """
    home = load_settings().home.absolute()
    if not yes:
        click.confirm(f"Throw away all data of the local platform in {home}?", abort=True)
    removed = discard(home)
    click.echo(f"removed {', '.join(removed)} from {home}" if removed else f"nothing to remove in {home}")
