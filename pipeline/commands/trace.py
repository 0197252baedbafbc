"""`pipeline trace`: where an event is, and why."""

import json
from datetime import UTC, datetime
from typing import Final

import click
import psycopg

from pipeline.dead_letters.letters import IDENTITY_EXAMPLE, IDENTITY_FORM, Identity, canonical_id
from pipeline.dead_letters.naming import USAGE
from pipeline.dead_letters.store import connect
from pipeline.errors import UserError
from pipeline.settings import Settings, load_settings
from pipeline.trace.search import trace as search
from pipeline.trace.story import as_text, as_values
from streams.events import STREAMS
from streams.topics import TOPICS

EVENT_ID_EXAMPLE: Final = "6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a01"
PLACES: Final = {*STREAMS, *(topic.name for topic in TOPICS)}
"""What records come from: the first part of an identity."""
MOST_SHOWN: Final = 100
"""Characters of an id that is repeated to the user."""


@click.command("trace")
@click.argument("event", metavar=f"EVENT_ID|{IDENTITY_FORM}")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def trace(event: str, as_json: bool) -> None:
    """Tell where an event is and why, with the instant at each hop.

    Looks in bronze, the dead letters, the facts, sessions, the late ledger, identities and gold. The exit
    code is 1 if nothing of it has arrived.
    """
    if not event or not _is_text(event):
        check_form(event)
    settings = load_settings()
    with connect(settings.postgres_url.get_secret_value()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            found = search(
                connection,
                event,
                session_retention_days=settings.session_retention_days,
                now=datetime.now(UTC),
            )
    if not found.is_known:
        check_form(event)
        shown = _shown(event)
        raise UserError(f"{shown} is neither in bronze nor among the dead letters. {_under_way(settings)}")
    click.echo(json.dumps(as_values(found), default=str, ensure_ascii=False) if as_json else as_text(found))


def check_form(event: str) -> None:
    """Refuse what is neither an event id nor an identity.

    Only when nothing has it: a broken event's id may be any text, and is found by that.

    Raises:
        UserError: with exit code 2; the message says what ids look like.
    """
    if canonical_id(event) is not None:
        return
    try:
        stream = Identity.parse(event).stream
    except ValueError:
        wrong = ""
    else:
        if stream in PLACES:
            return
        wrong = f", with one of {', '.join(STREAMS)} or a topic as its stream"
    raise UserError(
        f"{_shown(event)!a} is neither an event_id (such as {EVENT_ID_EXAMPLE}) nor the identity of a record "
        f"({IDENTITY_FORM}, such as {IDENTITY_EXAMPLE}{wrong}), and no broken event has it as its id",
        exit_code=USAGE,
    )


def _is_text(event: str) -> bool:
    try:
        event.encode()
    except UnicodeEncodeError:  # bytes of the command line that are no UTF-8
        return False
    return True


def _shown(event: str) -> str:
    return event if len(event) <= MOST_SHOWN else f"{event[:MOST_SHOWN]}…"


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
