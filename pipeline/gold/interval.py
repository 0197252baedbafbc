"""Run a job on an interval until a signal says stop."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

from apscheduler.schedulers.blocking import BlockingScheduler

STOP_SECONDS = 20.0
"""How long a job in flight has to finish after SIGTERM; supervisors kill after more than that."""


def run_on_interval(
    job: Callable[[], None], every_seconds: float, *, stop_seconds: float = STOP_SECONDS
) -> None:
    """Run `job` now and then every so many seconds, until SIGTERM or SIGINT; blocks; main thread only.

    A job that outlasts the interval delays the next one; missed turns are not made up for. On a signal the
    job in flight may finish; if it does not in `stop_seconds`, the process ends with exit code 0 and leaves
    the job's transactions to be rolled back.

    Args:
        job: what to run; it must not raise.
        every_seconds: the interval.
        stop_seconds: how long the job in flight has to finish after a signal.
    """
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns whenever a job outlasts the interval
    scheduler = BlockingScheduler(timezone=UTC)
    idle = threading.Event()
    idle.set()

    def run() -> None:
        idle.clear()
        try:
            job()
        finally:
            idle.set()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Not from the handler itself: the scheduler's lock may be held by the code it interrupts.
        threading.Thread(target=scheduler.shutdown, kwargs={"wait": False}, daemon=True).start()

    scheduler.add_job(
        run,
        "interval",
        seconds=every_seconds,
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
        next_run_time=datetime.now(UTC),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    scheduler.start()
    if not idle.wait(stop_seconds):
        os._exit(0)
