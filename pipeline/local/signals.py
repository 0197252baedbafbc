"""Signals that ask a command to stop, all as KeyboardInterrupt."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stop_by_signals() -> Iterator[None]:
    """Make SIGTERM and the end of the terminal the same as Ctrl-C, for as long as the block lasts.

    Ctrl-C itself is taken too: a shell script starts what it puts into the background with it ignored, and
    then `kill -INT` would do nothing. A hang-up that is ignored (nohup) stays so.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (a handler's signature)
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
