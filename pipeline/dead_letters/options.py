"""The filters that `pipeline dead-letters` takes, and what of them a selection is made of."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from pipeline.dead_letters.letters import IDENTITY_FORM, Identity, check_is_text, shown
from pipeline.dead_letters.selection import OPEN, UNREADABLE, Selection
from streams.dead_letters import Reason
from streams.events import STREAMS
from streams.topics import TOPICS

Command = TypeVar("Command", bound=Callable[..., Any])

STATUSES: Final = ("pending", "replayed", "exhausted", "discarded")
ALL: Final = "all"


class IdentityType(click.ParamType):
    """A transport identity in one word."""

    name = "identity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Identity:
        """Read it."""
        if isinstance(value, Identity):
            return value
        try:
            return Identity.parse(value)
        except ValueError as error:
            self.fail(f"{error}; `pipeline dead-letters list --rows` has them", param, ctx)


class TextType(click.ParamType):
    """A text that the database can be asked for."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        try:
            return check_is_text(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class LimitType(click.ParamType):
    """How many letters at most."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"0*[1-9][0-9]{0,11}", value):
            self.fail(f"{shown(value)} is no number from 1 to {10**12 - 1}", param, ctx)
        return int(value)


class InstantType(click.ParamType):
    """A date or an instant in ISO 8601; UTC if it has no offset."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(value)
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{shown(value)} is no date or instant like 2026-05-31 or 2026-05-31T12:00Z", param, ctx
            )


_FILTERS: Final = (
    click.argument("identities", nargs=-1, type=IdentityType(), metavar=f"[{IDENTITY_FORM}]..."),
    click.option(
        "--reason",
        "reasons",
        multiple=True,
        type=click.Choice([reason.value for reason in Reason]),
        help="Why they were refused; may be repeated, as the next four.",
    ),
    click.option(
        "--stream",
        "streams",
        multiple=True,
        type=click.Choice([*STREAMS, *(topic.name for topic in TOPICS)]),
        metavar="STREAM",
        help=f"The stream they came from: {', '.join(STREAMS)}; or a topic, if they stood on that only.",
    ),
    click.option(
        "--type",
        "types",
        multiple=True,
        type=TextType(),
        metavar="EVENT_TYPE",
        help=f"Their event_type; {UNREADABLE}: those without one.",
    ),
    click.option(
        "--stage", "stages", multiple=True, type=click.Choice(["clean", "sink"]), help="Who refused."
    ),
    click.option(
        "--status",
        "statuses",
        multiple=True,
        type=click.Choice([*STATUSES, ALL]),
        help="How they are.  [default: see above]",
    ),
    click.option("--since", type=InstantType(), help="Arrived at or after it (ISO 8601, UTC)."),
    click.option("--until", type=InstantType(), help="Arrived before it."),
    click.option("--failed-since", type=InstantType(), help="Failed last at or after it."),
    click.option("--event-id", type=TextType(), help="Of one event."),
    click.option("--limit", type=LimitType(), help="At most so many, the oldest arrivals first."),
)


def filters(command: Command) -> Command:
    """Add the filters to a command; it gets what `selection_of` takes."""
    for decorate in reversed(_FILTERS):
        command = decorate(command)
    return command


def selection_of(given: dict[str, Any], default: tuple[str, ...]) -> Selection:
    """Give the selection that filters mean.

    Args:
        given: the filters.
        default: statuses if none are given. Letters that are named, by identity or event id, are taken when
            they are open.
    """
    statuses: tuple[str, ...] = given["statuses"]
    if ALL in statuses:
        statuses = ()
    elif not statuses:
        statuses = OPEN if given["identities"] or given["event_id"] else default
    return Selection(**{**given, "statuses": statuses})
