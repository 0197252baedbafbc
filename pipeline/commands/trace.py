"""`pipeline trace`: where an event is, and why."""

import json

import click
import psycopg

from pipeline.dead_letters.letters import IDENTITY_FORM
from pipeline.dead_letters.store import connect
from pipeline.errors import UserError
from pipeline.settings import Settings, load_settings
from pipeline.trace.search import trace as search
from pipeline.trace.story import as_text, as_values

MOST_SHOWN = 100
"""Characters of an id that is repeated to the user."""


@click.command("trace")
@click.argument("event", metavar=f"EVENT_ID|{IDENTITY_FORM}")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def trace(event: str, as_json: bool) -> None:
    """Tell where an event is and why, with the instant at each hop.

    Looks in bronze, the dead letters, the facts, sessions, the late ledger, identities and gold. The exit
    code is 1 if nothing of it has arrived.
    """
    settings = load_settings()
    with connect(settings.postgres_url.get_secret_value()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            found = search(connection, event)
    if not found.is_known:
        shown = event if len(event) <= MOST_SHOWN else f"{event[:MOST_SHOWN]}…"
        raise UserError(f"{shown} is neither in bronze nor among the dead letters. {_under_way(settings)}")
    click.echo(json.dumps(as_values(found), default=str, ensure_ascii=False) if as_json else as_text(found))


def _under_way(settings: Settings) -> str:
    from pipeline.status import SUNK, kinesis_hops  # noqa: PLC0415  (AWS' client is slow to import)
    from streams.lag import topic_lags  # noqa: PLC0415  (likewise Kafka's)
    from streams.topics import SINK_GROUP, KafkaUnreachableError  # noqa: PLC0415

    try:
        waiting = sum(lag.lag for lag in topic_lags(settings.kafka, SINK_GROUP, SUNK))
        streams = [hop.stream for hop in kinesis_hops(settings) if hop.waiting]
    except (KafkaUnreachableError, UserError) as error:
        return f"Whether it is on its way cannot be told: {error}"
    if not waiting and not streams:
        return (
            "Nothing is on its way: it was never sent, or under another id, or in a record that cannot be "
            "read (see `pipeline dead-letters list`), or it is older than what is kept"
        )
    on_kinesis = f"records wait on Kinesis ({', '.join(streams)}), " if streams else ""
    return f"It may be on its way: {on_kinesis}{waiting} records wait for the database; ask again"
