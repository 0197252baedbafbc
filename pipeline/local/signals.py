"""Signals that ask a command to stop, all as KeyboardInterrupt."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stop_by_signals() -> Iterator[None]:
    """Make SIGTERM and the end of the terminal the same as Ctrl-C, for as long as the block lasts."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (a handler's signature)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
