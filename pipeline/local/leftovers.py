"""What a killed run left behind: recognised by a mark in each process's environment, and ended."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

MARK = "PIPELINE_SUPERVISED_HOME"
TERM_SECONDS = 15.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.05


def is_marked(environment: dict[str, str], home: Path) -> bool:
    """Tell whether a process with this environment belongs to the home's platform."""
    return environment.get(MARK) == str(home)


def find_leftovers(home: Path) -> list[psutil.Process]:
    """Give the processes that an earlier platform of this home started, without ourselves and our parents."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid not in ours and (
                is_marked(process.environ(), home) or _is_postgres_of(process, home)
            ):
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], *, term_seconds: float = TERM_SECONDS) -> None:
    """End processes: the supervisor first, that it starts none again; then politely; then by force.

    Args:
        processes: which.
        term_seconds: how long they have to end by themselves once asked.
    """
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if "supervisor.supervisord" in process.cmdline():
                process.kill()
            elif process.name() == "postgres":
                process.send_signal(signal.SIGINT)  # its TERM waits for clients
            else:
                process.terminate()
    for process in _alive_after(processes, term_seconds):
        with contextlib.suppress(psutil.Error):
            process.kill()
    _alive_after(processes, KILL_SECONDS)


def _alive_after(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for the end of processes, and give those that did not come to it.

    A zombie has ended: who has to collect it, in a container perhaps nobody, is not waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        alive = [process for process in processes if is_alive(process)]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(POLL_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs: a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_postgres_of(process: psutil.Process, home: Path) -> bool:
    """Recognise PostgreSQL's own children, which write their titles over their environment."""
    return process.name() == "postgres" and Path(process.cwd()) == home / "postgres" / "data"
