"""Where tables are printed: as wide as the terminal, or wide enough to read when it is a file or a pipe."""

from rich.console import Console

NARROWEST = 120


def make_console() -> Console:
    """Make the console that commands print to."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    return console
