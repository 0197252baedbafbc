"""The supervisor of a platform that another process runs in this home."""

import json
from pathlib import Path

from pipeline.errors import CONFIGURATION
from pipeline.local.home import Home
from pipeline.local.supervisor import Supervisor, socket_path
from pipeline.settings import Settings


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


def stopped_workers(settings: Settings) -> dict[str, str]:
    """Say of each program of the home's platform that should run and does not why, by name."""
    supervisor = attached_supervisor(settings)
    if supervisor is None:
        return {}
    paused = paused_file(settings.home)
    of_rebuild = set(json.loads(paused.read_text())) if paused.exists() else set()
    logs = Home(settings.home).logs
    found = {}
    for name, state in supervisor.states().items():
        if state.is_running:
            continue
        if name in of_rebuild and state.exit_code != CONFIGURATION:
            found[name] = (
                "paused by a rebuild; if none is running it was killed: run `pipeline rebuild` again"
            )
        elif state.exit_code:
            found[name] = f"exited with {state.exit_code}, see {logs / name}.log"
    return found
