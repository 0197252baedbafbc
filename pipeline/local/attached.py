"""The platform that another process runs in this home, and who of its programs does not run, and why."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from pipeline.errors import CONFIGURATION, UserError
from pipeline.local.home import Home
from pipeline.local.programs import PRODUCE
from pipeline.local.supervisor import State, Supervisor, socket_path
from pipeline.settings import Settings

LOOK_SECONDS: Final = 10.0
"""How long a rebuild waits for those who only look whether one is running."""
START_AGAIN: Final = "stop `pipeline up` and start it again"


@dataclass(frozen=True)
class Stopped:
    """Why a program does not run that should.

    Attributes:
        why: in words, with what to do.
        comes_back: it will run without anybody's doing.
        for_rebuild: a rebuild that is running will start it.
    """

    why: str
    comes_back: bool
    for_rebuild: bool = False


def attached_supervisor(settings: Settings) -> Supervisor | None:
    """Give the supervisor that runs in the home, None if none answers."""
    home = Home(settings.home)
    socket = socket_path(home.path)
    if not socket.exists():
        return None
    supervisor = Supervisor(home.run / "supervisord.conf", socket)
    try:
        supervisor.states()
    except OSError:  # it has ended and left its socket
        return None
    return supervisor


def paused_file(home: Path) -> Path:
    """Give the file that names the programs that a rebuild has paused."""
    return home / "run" / "paused.json"


def stopping_file(home: Path) -> Path:
    """Give the file that is there while the platform stops its programs by itself."""
    return home / "run" / "stopping"


@contextlib.contextmanager
def rebuilding(home: Path) -> Iterator[None]:
    """Have others know that a rebuild is running in the home; the system forgets it when this process dies.

    Raises:
        UserError: another one is running.
    """
    lock = _rebuild_lock(home)
    try:
        lock.acquire(timeout=LOOK_SECONDS)
    except Timeout:
        raise UserError("another rebuild is running: wait for its end") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def rebuild_is_running(home: Path) -> Iterator[bool]:
    """Tell whether a rebuild is running in the home; if none is, none begins while the block runs."""
    lock = _rebuild_lock(home)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield True
        return
    try:
        yield False
    finally:
        lock.release()


def stopped_workers(settings: Settings) -> dict[str, Stopped]:
    """Say of each program of the home's platform that should run and does not why, by name."""
    supervisor = attached_supervisor(settings)
    return {} if supervisor is None else stopped_programs(Home(settings.home), supervisor.states)


def stopped_programs(home: Home, states: Callable[[], Mapping[str, State]]) -> dict[str, Stopped]:
    """Say the same of a platform whose states are asked for meanwhile."""
    with rebuild_is_running(home.path) as is_rebuilding:
        found = states()
        paused = read_paused(home.path)
        if stopping_file(home.path).exists():
            found = {name: state for name, state in found.items() if state.state != "STOPPED"}
    reasons = {
        name: why_stopped(state, paused=name in paused, is_rebuilding=is_rebuilding, logs=home.logs)
        for name, state in found.items()
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


def read_paused(home: Path) -> set[str]:
    """Give the programs that a rebuild has paused and not started again yet."""
    try:
        return set(json.loads(paused_file(home).read_text()))
    except FileNotFoundError:
        return set()


def why_stopped(state: State, *, paused: bool, is_rebuilding: bool, logs: Path) -> Stopped | None:
    """Say why a program does not run; None if it does, or if it need not.

    Args:
        state: as the supervisor has it.
        paused: a rebuild has paused it.
        is_rebuilding: a rebuild is running.
        logs: the folder of the logs.
    """
    if state.is_running:
        return None
    if state.state == "EXITED" and state.exit_code:
        awaits = is_rebuilding and state.exit_code == CONFIGURATION
        then = "; the rebuild that is running starts it again" if awaits else ""
        why = f"exited with {state.exit_code}, see {logs / state.name}.log{then}"
        return Stopped(why, comes_back=awaits or state.exit_code != CONFIGURATION, for_rebuild=awaits)
    if paused and is_rebuilding:
        return Stopped("paused by a rebuild that is running", comes_back=True, for_rebuild=True)
    unasked = _by_whom(state, paused=paused, logs=logs)
    return None if unasked is None else Stopped(unasked, comes_back=False)


def _by_whom(state: State, *, paused: bool, logs: Path) -> str | None:
    if paused:
        how = f"run `pipeline rebuild` again, or {START_AGAIN}"
        return f"paused by a rebuild that was ended before it could start it: {how}"
    if state.state == "STOPPED" and state.started_at:
        return f"stopped, not by `pipeline up`: {START_AGAIN}"
    if state.state == "EXITED" and state.name != PRODUCE:
        return f"ended by somebody (its exit code is 0): {START_AGAIN}"
    return f"cannot be started, see {logs / 'supervisord.log'}" if state.state == "FATAL" else None


def _rebuild_lock(home: Path) -> FileLock:
    return FileLock(home / "run" / "rebuild.lock")
