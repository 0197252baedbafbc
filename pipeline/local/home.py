"""The folder of a local platform: who owns it, what is in it, and what a killed run left behind."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import CONFIGURATION, LocalError
from pipeline.local import leftovers
from pipeline.settings import ENDPOINTS_FILE

CONTENTS = ("dbt", "kafka", "ledger", "logs", "postgres", "state", ENDPOINTS_FILE, "run")
LEAST_FREE_BYTES = 500 * 1024 * 1024


class Home:
    """One platform's folder; `path` is absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self._lock = FileLock(self.run / "up.lock")

    @property
    def is_ours(self) -> bool:
        """Whether this object holds the folder."""
        return self._lock.is_locked

    def take(self) -> None:
        """Make the folder if there is none, and hold it; the system lets it go when the holder dies.

        Raises:
            LocalError: another process holds it, or it cannot be written.
        """
        with disk_errors(self.path):
            try:
                self.run.mkdir(parents=True, exist_ok=True)
                self.logs.mkdir(exist_ok=True)
            except FileNotFoundError as error:  # as in /proc, where nothing can be made
                raise LocalError(
                    f"{self.path} cannot be made: set PIPELINE_HOME to a folder of yours",
                    exit_code=CONFIGURATION,
                ) from error
            owner = self.run / "up.pid"
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                pid = owner.read_text().strip() if owner.exists() else "unknown"
                raise LocalError(
                    f"the platform in {self.path} runs already (process {pid}): "
                    f"stop that one first, or set PIPELINE_HOME to another folder for a second one"
                ) from None
            owner.write_text(str(os.getpid()))

    def release(self) -> None:
        """Let the folder go."""
        self._lock.release()

    def check_disk(self) -> None:
        """Refuse to start on a disk that is nearly full.

        Raises:
            LocalError: there is too little room.
        """
        free = shutil.disk_usage(self.path).free
        if free < LEAST_FREE_BYTES:
            raise LocalError(
                f"only {free // 1024**2} MB are free on the disk of {self.path}, "
                f"{LEAST_FREE_BYTES // 1024**2} MB are needed: "
                f"make room, or set PIPELINE_HOME to another disk"
            )

    def end_leftovers(self) -> int:
        """End the processes that an earlier platform of this folder left, and give their number."""
        found = leftovers.find_leftovers(self.path)
        leftovers.end(found)
        return len(found)

    def read_endpoints(self) -> dict[str, Any]:
        """Give what the platform last wrote of its services: settings, and `ports` by service."""
        try:
            found = json.loads((self.path / ENDPOINTS_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_endpoints(self, endpoints: Mapping[str, str], ports: Mapping[str, int]) -> None:
        """Say where the services are; ports of those that do not run now are kept for later."""
        kept = {**self.read_endpoints().get("ports", {}), **ports}
        path = self.path / ENDPOINTS_FILE
        unfinished = path.with_suffix(".new")
        unfinished.touch(mode=0o600)  # it holds a password
        unfinished.write_text(json.dumps({**endpoints, "ports": kept}, indent=1))
        unfinished.replace(path)


def discard(path: Path) -> list[str]:
    """Throw away what the platform keeps in its folder; what it did not make there stays.

    Returns:
        the names of what was removed.

    Raises:
        LocalError: the platform runs.
    """
    if not path.is_dir():
        return []
    home = Home(path)
    home.take()
    try:
        home.end_leftovers()
        there = [name for name in CONTENTS if (home.path / name).exists()]
        for name in there:
            found = home.path / name
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()
    finally:
        home.release()
    with contextlib.suppress(OSError):  # the user may have put something there
        home.path.rmdir()
    return there


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say in one line what a disk's refusal means for the platform in `path`.

    Raises:
        LocalError: for a full disk and for missing permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise LocalError(f"the disk of {path} is full: make room, or set PIPELINE_HOME") from error
        if error.errno in {errno.EACCES, errno.EEXIST, errno.EROFS, errno.EPERM, errno.ENOTDIR}:
            raise LocalError(
                f"{error.filename or path} cannot be written ({error.strerror}): "
                f"set PIPELINE_HOME to a folder of yours",
                exit_code=CONFIGURATION,
            ) from error
        raise
