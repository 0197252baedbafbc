"""What can become of a record: outcomes are values; the stages turn them into what is sent."""

from typing import NamedTuple

from streams.dead_letters import FieldError, Reason


class Refusal(NamedTuple):
    """A record that cannot be processed: why, and all that is wrong with it."""

    reason: Reason
    errors: list[FieldError]
