"""What can become of a record: outcomes are values; the stages turn them into what is sent."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.dead_letters import FieldError, Reason

MAX_ERRORS: Final = 100
MAX_CHARACTERS: Final = 300
"""Errors of a record, and characters of a path or message: a dead letter must fit into a message."""

_RANK: Final = {reason: rank for rank, reason in enumerate(Reason)}

Problem = tuple[Reason, FieldError]
"""One thing that is wrong."""


class Refusal(NamedTuple):
    """A record that cannot be processed: why, and all that is wrong with it."""

    reason: Reason
    errors: list[FieldError]


def problem(reason: Reason, path: str, message: str) -> Problem:
    """Give a problem, in words that fit into a dead letter and that any JSON can hold."""
    return reason, FieldError(_writable(path), _writable(message))


def refuse(problems: Sequence[Problem]) -> Refusal:
    """Give the refusal of a record with at least one problem.

    The reason is the first in the order of the closed list (`Reason`), whose error comes first; the others
    follow in that order, and among equals in the order in which they were found.
    """
    ordered = sorted(problems, key=lambda each: _RANK[each[0]])
    errors = [error for _reason, error in ordered[:MAX_ERRORS]]
    if len(ordered) >= MAX_ERRORS:
        errors.append(FieldError("$", f"only the first {MAX_ERRORS} errors are listed"))
    return Refusal(ordered[0][0], errors)


def _writable(text: str) -> str:
    cut = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
    return cut.encode(errors="backslashreplace").decode()
