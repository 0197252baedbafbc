"""Last-write-wins: of two values the later one holds, by `(occurred_at, event_id)`."""

from typing import Any, NamedTuple

from streams.facts import CatalogueEvent, VisitorEvent


class Version(NamedTuple):
    """When a value was written: RFC 3339 in UTC with microseconds, so that text compares as time."""

    at: str
    event_id: str


def version_of(event: VisitorEvent | CatalogueEvent) -> Version:
    """Give the version of what an event says."""
    return Version(event.occurred_at.isoformat(timespec="microseconds"), event.event_id)


class Written(NamedTuple):
    """A value and when it was written; None is a value that was cleared."""

    version: Version
    value: Any


def later(a: Written | None, b: Written | None) -> Written | None:
    """Give the value that holds."""
    if a is None or b is None:
        return a or b
    return a if a.version >= b.version else b


def earlier(a: Written | None, b: Written | None) -> Written | None:
    """Give the value that was written first."""
    if a is None or b is None:
        return a or b
    return a if a.version <= b.version else b
