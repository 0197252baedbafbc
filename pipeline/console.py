"""Where tables are printed: as wide as the terminal, or wide enough to read when it is a file or a pipe."""

from rich.console import Console

NARROWEST = 120


def make_console(*, stderr: bool = False) -> Console:
    """Make the console that commands print to: the output, or the error output."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    return console
