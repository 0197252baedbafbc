"""The supervisor of a platform that another process runs in this home."""

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
