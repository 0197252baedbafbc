"""`pipeline dead-letters replay`: records that were refused, sent again."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
from confluent_kafka.admin import AdminClient

from pipeline.dead_letters import store
from pipeline.dead_letters.letters import Identity
from pipeline.dead_letters.naming import check_named, in_other_statuses, nothing_selected
from pipeline.dead_letters.options import filters, selection_of
from pipeline.dead_letters.passing import failed_again, wait_through
from pipeline.dead_letters.patching import Patch, PatchError, read_patch
from pipeline.dead_letters.planning import Planner
from pipeline.dead_letters.rehearsal import Forecast, judge
from pipeline.dead_letters.replay import CHUNK, Outcome, plan_chunk, settled_already
from pipeline.dead_letters.replay import replay as send_again
from pipeline.dead_letters.selection import Selection
from pipeline.dead_letters.telling import (
    Fates,
    fate_text,
    forecast_json,
    forecast_text,
    outcome_json,
    outcome_text,
)
from pipeline.errors import UserError
from pipeline.sending import INTERRUPTED, Stopping, progress_bar
from pipeline.settings import Settings, load_settings
from streams.engine.batch import Stage
from streams.events import STREAMS, Stream
from streams.ingest.forwarder import ForwardError, KafkaForwarder
from streams.topics import check_topics, partition_counts, raw_topic

ASK_ABOVE: Final = 10
"""So many letters are touched without asking."""
WAIT_SECONDS: Final = 600.0
MOST_SHOWN: Final = 60
"""Characters of a patch that is none, shown in the message."""
PATCH_FORMS: Final = (
    """A patch is a JSON Patch like '[{"op": "replace", "path": "/currency", "value": "EUR"}]', a JSON """
    """Merge Patch like '{"currency": "EUR"}', a file that holds one, or - for the standard input"""
)
NEW_EVENT_ID_HELP: Final = (
    "Give each an event_id of its own, always the same one; records that say the same get the same, and "
    "are one event. Sessions that had counted it before it was "
    "refused count it twice then, until a rebuild: `pipeline verify` names the command."
)


class PatchType(click.ParamType):
    """A patch, in the argument itself or in a file; - is the standard input."""

    name = "patch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Patch:
        """Read it."""
        if isinstance(value, Patch):
            return value
        try:
            if value.removeprefix("\ufeff").lstrip()[:1] in {"[", "{"}:
                return read_patch(value)
            with click.open_file(value, "rb") as file:
                return read_patch(file.read())
        except PatchError as error:
            self.fail(str(error), param, ctx)
        except FileNotFoundError:
            self.fail(f"{_shown(value)} is neither a patch nor a file. {PATCH_FORMS}", param, ctx)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            self.fail(f"{_shown(value)} cannot be read: {why}. {PATCH_FORMS}", param, ctx)


def _shown(value: str) -> str:
    return repr(value if len(value) <= MOST_SHOWN else f"{value[:MOST_SHOWN]}…")


@click.command("replay")
@filters
@click.option(
    "--patch",
    type=PatchType(),
    metavar="FILE|JSON",
    help="Correct each with a JSON Patch (an array) or a JSON Merge Patch (an object) first.",
)
@click.option("--new-event-id", is_flag=True, help=NEW_EVENT_ID_HELP)
@click.option("--as-it-came", is_flag=True, help="Forget an earlier correction.")
@click.option("--wait", is_flag=True, help="Wait until they are through, and say what became of them.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of them, by the real rules.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For programs; does not ask either.")
def replay(
    *,
    patch: Patch | None,
    new_event_id: bool,
    as_it_came: bool,
    wait: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Send records that were refused through the pipeline again, as they came or corrected.

    Without --status: those that are pending; of those that are named, also the exhausted ones. A patch is
    applied to what came, never to an earlier correction, so doing it twice is doing it once; without one,
    the last correction is sent again, if there was one.

    The exit code is 1 if some could not be sent; with --dry-run also if some would fail again, with --wait if
    some have.
    """
    settings = load_settings()
    selection = selection_of(given, ("pending",))
    planner = Planner(patch, new_event_ids=new_event_id, as_it_came=as_it_came)
    with store.connect(settings.postgres_url.get_secret_value()) as connection:
        check_named(connection, selection)
        chosen = store.identities(connection, selection)
        if not chosen:
            click.echo(json.dumps({"selected": 0}) if as_json else _nothing(connection, selection, given))
            return
        if dry_run:
            forecast = rehearse(settings, connection, chosen, planner, selection, quiet=as_json)
            click.echo(
                forecast_json(forecast, len(chosen)) if as_json else forecast_text(forecast, len(chosen))
            )
            sys.exit(0 if forecast.is_clear else 1)
        if not as_json:
            confirm(len(chosen), "Send again", yes=yes)
        outcome = _send(settings, connection, chosen, planner, selection, quiet=as_json)
        if not as_json:
            click.echo(outcome_text(outcome))
        again = _wait(settings, connection, outcome) if wait else None
    if as_json:
        click.echo(outcome_json(outcome, len(chosen), again))
    elif outcome.sent:
        click.echo(fate_text(outcome.sent, again))
    if outcome.stopped:
        sys.exit(INTERRUPTED)
    if outcome.refused or again:
        sys.exit(1)


def confirm(letters: int, what: str, *, yes: bool) -> None:
    """Ask before many letters are touched.

    Raises:
        UserError: the answer is no, or there is nobody to ask.
    """
    if yes or letters <= ASK_ABOVE:
        return
    if not sys.stdin.isatty():
        raise UserError(f"{letters} dead letters are selected: say --yes to touch more than {ASK_ABOVE}")
    if not click.confirm(f"{what} {letters} dead letters?"):
        raise UserError("nothing was touched")


def say_if_waiting(connection: store.Connection) -> None:
    """Say that it will take longer, if it will."""
    if store.is_locked(connection):
        click.echo("another replay or discard, or a rebuild, is under way: waiting for it", err=True)


def rehearse(
    settings: Settings,
    connection: store.Connection,
    chosen: Sequence[Identity],
    planner: Planner,
    selection: Selection,
    *,
    quiet: bool = True,
) -> Forecast:
    """Say what would become of letters if they were sent now; touches nothing."""
    stages, forecast = cleaning_stages(settings), Forecast()
    with progress_bar("trying the rules", len(chosen), quiet=quiet) as progress:
        for start in range(0, len(chosen), CHUNK):
            identities = chosen[start : start + CHUNK]
            planned, refused, _ = plan_chunk(connection, identities, planner, selection.statuses)
            settled = settled_already(connection, planned)
            forecast.settled += len(settled)
            forecast.refused += refused
            for stream, stage in stages.items():
                of_stream = [
                    plan
                    for plan in planned
                    if plan.letter.stream == stream and plan.letter.identity not in settled
                ]
                verdicts = judge(stage, of_stream, datetime.now(UTC))
                forecast.counted_before += sum(plan.may_be_counted_before for plan in of_stream)
                ids = sorted({verdict.event_id for verdict in verdicts if verdict.event_id})
                forecast.add(verdicts, store.stored_facts(connection, ids))
            progress(len(identities))
    return forecast


def cleaning_stages(settings: Settings) -> Mapping[Stream, Stage]:
    """Make the stages that clean, as the workers of these settings have them."""
    from pipeline.stages import stages_of  # noqa: PLC0415  (Faust is slow to import)

    of_topic = {stage.topic: stage for stage in stages_of(settings, accept_flood=True)}
    return {stream: of_topic[raw_topic(stream)] for stream in STREAMS}


def _send(
    settings: Settings,
    connection: store.Connection,
    chosen: Sequence[Identity],
    planner: Planner,
    selection: Selection,
    *,
    quiet: bool,
) -> Outcome:
    admin = AdminClient(settings.kafka.librdkafka())
    check_topics(partition_counts(admin), map(raw_topic, STREAMS), settings.partitions)
    say_if_waiting(connection)
    outcome, stopping = Outcome(), Stopping()
    try:
        with progress_bar("sending again", len(chosen), quiet=quiet) as progress, stopping.on_signals():
            send_again(
                connection,
                KafkaForwarder(settings.kafka),
                chosen,
                planner,
                statuses=selection.statuses,
                outcome=outcome,
                progress=progress,
                is_stopped=stopping.is_asked,
            )
    except ForwardError as error:
        raise UserError(
            f"{error} ({outcome.sent} were sent and noted; run the same again, twice is once)"
        ) from error
    return outcome


def _wait(settings: Settings, connection: store.Connection, outcome: Outcome) -> Fates:
    if outcome.sent:
        wait_through(settings.kafka, WAIT_SECONDS)
    return failed_again(connection, outcome.sent_letters)


def _nothing(connection: store.Connection, selection: Selection, given: dict[str, Any]) -> str:
    if given["statuses"]:
        return f"nothing to replay: {nothing_selected(connection, selection)}"
    named = given["identities"] or given["event_id"]
    more = in_other_statuses(connection, selection, None if named else ("exhausted",))
    return f"nothing to replay: no {'open' if named else 'pending'} dead letter is selected{more}"
