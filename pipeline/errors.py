"""Errors that a user can meet: shown as one line, without a traceback."""

CONFIGURATION = 78
"""Exit code of what an operator must act on; supervisors do not restart it (EX_CONFIG of sysexits.h)."""

TRY_AGAIN = 75
"""Exit code of what may succeed later (EX_TEMPFAIL of sysexits.h); supervisors start a worker again."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
KAFKA_ADVICE = "; does `pipeline up` run, is PIPELINE_KAFKA_BOOTSTRAP right?"
"""What is added when Kafka does not answer."""


class UserError(Exception):
    """Something the user can do something about; the message says what.

    Args:
        message: the line to show.
        exit_code: what the process exits with.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LocalError(UserError):
    """The local platform cannot start or go on."""
