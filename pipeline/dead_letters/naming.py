"""Whether what a command line names is there, and what is there when nothing is selected."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from pipeline.dead_letters import store
from pipeline.dead_letters.letters import shown
from pipeline.dead_letters.selection import UNREADABLE, Selection
from pipeline.errors import UserError
from streams.events import STREAM_OF_TYPE

MOST_NAMED: Final = 20
"""Types that are listed; letters may carry any text as theirs."""
USAGE: Final = 2
"""Exit code of a command line that means nothing."""


def check_named(connection: store.Connection, selection: Selection) -> None:
    """Refuse a selection that names what is not there, before anything is done with the rest of it.

    Filters that only happen to select nothing are left alone. An event type may be one of the streams', or
    whatever a letter came with.

    Raises:
        UserError: there is no letter of an identity or an event id (exit code 1), or a type is neither an
            event's nor any letter's (exit code 2).
    """
    unknown = store.without_letter(connection, selection.identities)
    if unknown:
        more = f", nor {len(unknown) - 1} more that are named" if len(unknown) > 1 else ""
        raise UserError(
            f"there is no dead letter {shown(str(unknown[0]))}{more}: {_what_there_is(connection)}"
        )
    event_id = selection.event_id
    if event_id is not None and not store.count(connection, Selection(event_id=event_id)):
        raise UserError(f"no dead letter has the event_id {shown(event_id)}: {_what_there_is(connection)}")
    strange = [each for each in selection.types if each not in {*STREAM_OF_TYPE, UNREADABLE}]
    if strange:
        there = store.types_there_are(connection)
        nobodys = [each for each in strange if each not in there]
        if nobodys:
            raise UserError(
                f"no dead letter has the type {shown(nobodys[0])}, and no event either; {_types(there)}",
                exit_code=USAGE,
            )


def nothing_selected(connection: store.Connection, selection: Selection) -> str:
    """Say that nothing is selected, and what there is instead."""
    if not store.count(connection, Selection()):
        return "there are no dead letters"
    told = in_other_statuses(connection, selection)
    return f"no dead letters are selected{told or '; there are others: `pipeline dead-letters list`'}"


def in_other_statuses(
    connection: store.Connection,
    selection: Selection,
    only: Iterable[str] | None = None,
    *,
    selectable: Iterable[str] | None = None,
) -> str:
    """Say how many letters the same filters select in other statuses, to be put behind a sentence.

    Args:
        connection: to the database.
        selection: with the statuses that select nothing.
        only: the statuses that are worth a word; None: all.
        selectable: those that it would help to select; None: all.

    Returns:
        an empty text if there are none.
    """
    groups = store.groups(connection, replace(selection, statuses=(), limit=None), "status")
    counts = {group.name: group.letters for group in groups if only is None or group.name in only}
    told = " and ".join(
        f"{count} {'is' if count == 1 else 'are'} {status}"
        + f", which --status {status} selects" * (selectable is None or status in selectable)
        for status, count in sorted(counts.items())
    )
    return f"; {told}" if told else ""


def _what_there_is(connection: store.Connection) -> str:
    if not store.count(connection, Selection()):
        return "there are none at all"
    return "`pipeline dead-letters list --status all --rows` has them"


def _types(there: list[str]) -> str:
    if not there:
        return "there are no dead letters with a type"
    more = ", …" if len(there) > MOST_NAMED else ""
    return f"types there are: {', '.join(there[:MOST_NAMED])}{more}"
