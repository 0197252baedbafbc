"""Crash-only: what is not understood ends the process; it is started again and the batch comes again."""

import logging
import os
import sys
from typing import NoReturn

EXIT_CRASH = 70
EXIT_OPERATOR = 78
"""The operator must act first; supervisors do not restart after it (EX_CONFIG of sysexits.h)."""

log = logging.getLogger(__name__)


class OperatorError(Exception):
    """The worker cannot go on until somebody acts; the message says what to do."""


def crash(reason: str, error: BaseException | None = None) -> NoReturn:
    """End the process at once, without any clean-up that could acknowledge or commit something.

    Args:
        reason: what was being done.
        error: what happened; an `OperatorError` ends with the exit code 78, anything else with 70.
    """
    if isinstance(error, OperatorError):
        log.critical("%s: %s", reason, error)
        code = EXIT_OPERATOR
    else:
        log.critical("%s; exiting, to start again from what is committed", reason, exc_info=error)
        code = EXIT_CRASH
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)
