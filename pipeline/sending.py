"""What `produce` and `load` share: the way to Kinesis, a progress bar, and being stopped."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from pipeline import errors
from pipeline.settings import Settings
from producer.kinesis import KinesisWriter, kinesis_client

SHOW_AFTER_SECONDS: Final = 2.0
INTERRUPTED: Final = errors.INTERRUPTED


def make_writer(settings: Settings, stopping: "Stopping") -> KinesisWriter:
    """Make a writer to the configured Kinesis, which gives up waiting when the process is to stop."""
    endpoint = settings.kinesis_endpoint
    client = kinesis_client(
        region=settings.aws_region,
        endpoint=endpoint,
        local=endpoint is not None and settings.environment == "dev",
    )
    return KinesisWriter(client, sleep=stopping.sleep_or_stop)


class Stopping:
    """Whether the process was asked to stop: the first signal asks, the second insists."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def is_asked(self) -> bool:
        """Whether it was."""
        return self._asked.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait; at once over when asked to stop."""
        self._asked.wait(seconds)

    def sleep_or_stop(self, seconds: float) -> None:
        """Wait; raises KeyboardInterrupt when asked to stop."""
        if self._asked.wait(seconds):
            raise KeyboardInterrupt

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as the request to stop, meanwhile."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._on_signal) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)


@contextmanager
def progress_bar(what: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how many records were sent, on a terminal, when it takes longer than two seconds.

    Yields:
        a function to be told how many more were sent.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(what, total=total)
    began = time.monotonic()
    shown = False

    def advance(records: int) -> None:
        nonlocal shown
        bar.advance(task, records)
        if not shown and time.monotonic() - began > SHOW_AFTER_SECONDS:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
        sys.stderr.flush()
