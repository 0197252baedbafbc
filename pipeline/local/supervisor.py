"""The supervisor: started as a process of its own, spoken to over a Unix socket."""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from pipeline.errors import LocalError

LONGEST_SOCKET_PATH = 90  # 103 bytes on macOS, and the supervisor adds a suffix while it starts
START_SECONDS = 20.0
STOP_SECONDS = 120.0
"""Longer than any program may take to stop before the supervisor kills it."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class State:
    """How a supervised process is.

    Attributes:
        state: the supervisor's word: RUNNING, STOPPED, EXITED, STOPPING, BACKOFF, FATAL, UNKNOWN.
        pid: 0 if it does not run.
        started_at: seconds since the epoch.
        exit_code: of its last exit; 0 if it never did.
    """

    name: str
    state: str
    pid: int
    started_at: int
    exit_code: int

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self.pid != 0


def socket_path(home: Path) -> Path:
    """Give where the supervisor of a home listens: in the home, or where the path is short enough."""
    inside = home / "run" / "supervisor.sock"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"pipeline-{os.getuid()}-{digest}"
    if len(os.fsencode(folder)) > LONGEST_SOCKET_PATH:
        folder = Path("/tmp") / folder.name  # noqa: S108  (made for us alone, below)
    return folder / "supervisor.sock"


class Supervisor:
    """A running supervisord.

    Args:
        configuration: its configuration file, `run/…` in the platform's home.
        socket: where it listens, as that file says.
    """

    def __init__(self, configuration: Path, socket: Path) -> None:
        self._configuration = configuration
        self._socket = socket
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str], log: Path) -> None:
        """Start it, in a session of its own so that Ctrl-C does not reach what it runs.

        Raises:
            LocalError: it does not answer; the end of its output is in the message.
        """
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._socket.parent.stat().st_uid != os.getuid():
            raise LocalError(f"{self._socket.parent} belongs to somebody else: remove it")
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  (the command is the platform's own)
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration), "-n"],
                env=dict(environment),
                cwd=self._configuration.parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._call("getState")
            except OSError:
                time.sleep(POLL_SECONDS)
            else:
                return
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        reason = next((line for line in lines if line.startswith("Error")), lines[-1])
        raise LocalError(f"the supervisor does not start: {reason} (see {log})")

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor's own process runs."""
        return self._process is not None and self._process.poll() is None

    def states(self) -> dict[str, State]:
        """Give how each program is, by name."""
        return {
            info["name"]: State(
                info["name"], info["statename"], info["pid"], info["start"], info["exitstatus"]
            )
            for info in self._call("getAllProcessInfo")
        }

    def start_program(self, name: str) -> None:
        """Start a program; nothing happens if it runs. One that is being stopped is waited for.

        It was asked for, so it does not pause as one does that has failed (`pipeline.local.launch`).

        Raises:
            LocalError: there is no such program, or it does not stop.
        """
        state = self._after_its_stop(name)
        if state is not None and not state.is_running:
            self._configuration.with_name(f"{name}.starts").unlink(missing_ok=True)
        try:
            self._call("startProcess", name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise LocalError(f"{name} cannot be started: {fault.faultString}") from fault

    def stop_programs(self, names: Iterable[str], while_waiting: Callable[[], None] | None = None) -> None:
        """Stop programs side by side and wait until they are gone; those that do not run are passed over.

        One that somebody else has started again meanwhile is not waited for.
        """
        names = set(names)
        running = {name: state.pid for name, state in self.states().items() if name in names}
        for name in sorted(names):
            try:
                self._call("stopProcess", name, False)
            except Fault as fault:
                if fault.faultCode not in {Faults.NOT_RUNNING, Faults.BAD_NAME}:
                    raise LocalError(f"{name} cannot be stopped: {fault.faultString}") from fault
        while any(
            state.is_running and state.pid == running.get(name) for name, state in self.states().items()
        ):
            if while_waiting is not None:
                while_waiting()
            time.sleep(POLL_SECONDS)

    def _after_its_stop(self, name: str) -> State | None:
        """Give the state of a program when no stop of it is under way any more.

        The supervisor takes a start before that for done, and does nothing.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while (state := self.states().get(name)) is not None and state.state == "STOPPING":
            if time.monotonic() > deadline:
                raise LocalError(f"{name} has not stopped for {STOP_SECONDS:.0f} s: end process {state.pid}")
            time.sleep(POLL_SECONDS)
        return state

    def shutdown(self) -> None:
        """End the supervisor with all that it runs, and wait for it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        self._process = None

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()
