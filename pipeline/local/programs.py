"""The programs of the local platform, and the supervisor's configuration that runs them."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import CONFIGURATION
from pipeline.local import launch
from streams.events import STREAMS

PRODUCE = "produce"


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
        worker("gold", "gold", "--every", str(gold_every_seconds), stop_seconds=60),
    ]


def producer(*arguments: str) -> Program:
    """Describe the live producer; `arguments` are those of `pipeline produce`."""
    return worker(PRODUCE, "produce", *arguments)


def write_supervisor_configuration(
    path: Path, programs: Iterable[Program], *, socket: Path, run: Path, logs: Path
) -> None:
    """Write the supervisor's configuration and a file for each program.

    Nothing starts by itself. What exits other than by 0 or 78 is restarted for ever; `pipeline.local.launch`
    sees to the pauses, because the supervisor's own give up in the end and retry even 0 and 78 when they
    come early (hence `startsecs=0`).
    """
    sections = [
        f"[unix_http_server]\nfile={_escape(socket)}\nchmod=0700\n",
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
        f"[supervisord]\nlogfile={_escape(logs / 'supervisord.log')}\nlogfile_maxbytes=5MB\nlogfile_backups=1\n"
        f"pidfile={_escape(run / 'supervisord.pid')}\nchildlogdir={_escape(logs)}\nnodaemon=true\nsilent=true\n",
    ]
    for program in programs:
        described = run / f"{program.name}.json"
        described.write_text(
            json.dumps({"command": program.command, "directory": str(program.directory)}, indent=1)
        )
        described.with_suffix(".starts").unlink(missing_ok=True)
        command = " ".join(
            f'"{_escape(part)}"' for part in (sys.executable, "-I", "-S", launch.__file__, described)
        )
        sections.append(
            f"[program:{program.name}]\ncommand={command}\nautostart=false\nautorestart=unexpected\n"
            f"exitcodes=0,{CONFIGURATION}\nstartsecs=0\nstopsignal={program.stop_signal}\n"
            f"stopwaitsecs={program.stop_seconds}\nkillasgroup=true\nredirect_stderr=true\n"
            f"stdout_logfile={_escape(logs / program.name)}.log\n"
            f"stdout_logfile_maxbytes=20MB\nstdout_logfile_backups=2\n"
        )
    path.write_text("\n".join(sections))


def _escape(value: object) -> str:
    return str(value).replace("%", "%%")
