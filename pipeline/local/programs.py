"""The programs of the local platform, and the supervisor's configuration that runs them."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import CONFIGURATION
from pipeline.local import launch
from streams.events import STREAMS

PRODUCE = "produce"
GOLD = "gold"


def ingest_name(stream: str) -> str:
    """Give the name of the program that reads a stream."""
    return f"ingest-{stream}"


@dataclass(frozen=True)
class Program:
    """One supervised process.

    Attributes:
        name: how it is called in states, logs and files.
        command: its command line; the first is an absolute path.
        directory: where it runs.
        stop_signal: what asks it to stop cleanly.
        stop_seconds: how long it may take before it is killed.
    """

    name: str
    command: list[str]
    directory: Path = field(default_factory=Path.cwd)
    stop_signal: str = "TERM"
    stop_seconds: int = 20


def worker(name: str, *arguments: str, stop_seconds: int = 20) -> Program:
    """Describe a worker: a command of ours."""
    return Program(name, [sys.executable, "-m", "pipeline.cli", *arguments], stop_seconds=stop_seconds)


def default_workers(*, gold_every_seconds: int) -> list[Program]:
    """Give the workers of the whole pipeline, in the order in which they start; stopped in that order too."""
    return [
        *(worker(ingest_name(stream), "ingest", stream) for stream in STREAMS),
        worker("process", "process"),
        worker("sink", "sink"),
        worker(GOLD, "gold", "--every", str(gold_every_seconds), stop_seconds=60),
    ]


def producer(*arguments: str) -> Program:
    """Describe the live producer; `arguments` are those of `pipeline produce`."""
    return worker(PRODUCE, "produce", *arguments)


def write_supervisor_configuration(
    path: Path, programs: Iterable[Program], *, socket: Path, run: Path
) -> None:
    """Write the supervisor's configuration and, into the folder `run`, a file for each program.

    Its paths are relative to the home, where the supervisor is started: it reads more into a path than is
    there (`%`, ` ;`), and a home may be called anything.

    Nothing starts by itself. What exits other than by 0 or 78 is restarted for ever; `pipeline.local.launch`
    sees to the pauses, because the supervisor's own give up in the end and retry even 0 and 78 when they
    come early (hence `startsecs=0`).
    """
    sections = [
        _section("unix_http_server", file=_escape(socket), chmod="0700"),
        _section(
            "rpcinterface:supervisor",
            **{"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        _section(
            "supervisord",
            logfile="logs/supervisord.log",
            logfile_maxbytes="5MB",
            logfile_backups=1,
            pidfile="run/supervisord.pid",
            childlogdir="logs",
            nodaemon="true",
            silent="true",
            # Saying that root is meant spares a warning.
            **({"user": "root"} if os.geteuid() == 0 else {}),
        ),
    ]
    for program in programs:
        described = run / f"{program.name}.json"
        described.write_text(
            json.dumps({"command": program.command, "directory": str(program.directory)}, indent=1)
        )
        described.with_suffix(".starts").unlink(missing_ok=True)
        command = " ".join(
            f'"{_escape(part)}"'
            for part in (sys.executable, "-I", "-S", launch.__file__, f"run/{described.name}")
        )
        sections.append(
            _section(
                f"program:{program.name}",
                command=command,
                autostart="false",
                autorestart="unexpected",
                exitcodes=f"0,{CONFIGURATION}",
                startsecs=0,
                stopsignal=program.stop_signal,
                stopwaitsecs=program.stop_seconds,
                killasgroup="true",
                redirect_stderr="true",
                stdout_logfile=f"logs/{program.name}.log",
                stdout_logfile_maxbytes="20MB",
                stdout_logfile_backups=2,
            )
        )
    path.write_text("\n".join(sections))


def _section(name: str, **options: object) -> str:
    return f"[{name}]\n" + "".join(f"{option}={value}\n" for option, value in options.items())


def _escape(value: object) -> str:
    return str(value).replace("%", "%%")
