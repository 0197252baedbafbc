"""Which ports the local services listen on, all on the loopback address."""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from pipeline.errors import CONFIGURATION, LocalError

HOST = "127.0.0.1"
ALONE_SECONDS: Final = 180.0


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without this, connections of an earlier run that still time out would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_port() -> int:
    """Give a port on which nothing listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def choose_port(what: str, *, given: int | None, preferred: Iterable[int | None]) -> int:
    """Choose a service's port.

    Args:
        what: the service's name, for the message.
        given: the port that the user asked for; it is taken or refused.
        preferred: ports to take if they are free, best first; None is passed over.

    Raises:
        LocalError: the port that the user asked for is taken.
    """
    if given is not None:
        if not is_free(given):
            raise LocalError(
                f"port {given} is taken, so {what} cannot start: free it, or give another one by "
                f"PIPELINE_{what.upper()}_PORT (unset: a free one is chosen)",
                exit_code=CONFIGURATION,
            )
        return given
    return next((port for port in preferred if port is not None and is_free(port)), None) or free_port()


@contextlib.contextmanager
def starting_alone() -> Iterator[None]:
    """Keep a user's other platforms from starting meanwhile.

    Raises:
        LocalError: another one has been starting for minutes.
    """
    lock = FileLock(Path(tempfile.gettempdir()) / f"event-pipeline-{os.getuid()}.lock")
    try:
        lock.acquire(timeout=ALONE_SECONDS)
    except Timeout:
        raise LocalError(
            f"another platform of yours has been starting for {ALONE_SECONDS:.0f} s: see what keeps it"
        ) from None
    try:
        yield
    finally:
        lock.release()
