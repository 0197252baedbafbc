"""Become a program of the local platform, after a pause if it has been failing.

The supervisor restarts what exits, at once. This small program stands before each of its programs: it counts
starts that follow each other quickly, sleeps the longer the more there were, and then turns into the program
(exec, so that signals and exit codes are the program's own). It uses the standard library only and is run
by path, which keeps its own start short.
"""

import json
import os
import sys
import time
from pathlib import Path

QUICK_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 15.0


def pause_seconds(quick_starts: int) -> float:
    """Give how long to wait before a start: not at first nor after one failure, then 1, 2, 4, … 15 s."""
    return 0.0 if quick_starts < 2 else min(2.0 ** (quick_starts - 2), LONGEST_PAUSE_SECONDS)  # noqa: PLR2004  (the docstring)


def count_quick_starts(last: dict[str, float], now: float) -> int:
    """Give how many starts in a row came soon after the one before.

    Args:
        last: `at` and `quick` of the start before; empty at the first.
        now: seconds on the same clock as `at`.
    """
    if not last or now - last["at"] > QUICK_SECONDS:
        return 0
    return int(last["quick"]) + 1


def main(program: Path) -> None:
    """Start the program that the file describes: `command`, `directory`."""
    described = json.loads(program.read_text())
    starts = program.with_suffix(".starts")
    try:
        last = json.loads(starts.read_text())
    except (OSError, ValueError):
        last = {}
    quick = count_quick_starts(last, time.time())
    pause = pause_seconds(quick)
    # What is counted is the time the program itself gets, so the pause lies before.
    starts.write_text(json.dumps({"at": time.time() + pause, "quick": quick}))
    if pause:
        sys.stderr.write(f"launch: start {quick + 1} in a row, waiting {pause:g} s\n")
        time.sleep(pause)
    os.chdir(described["directory"])
    command = described["command"]
    os.execv(command[0], command)  # noqa: S606  (the command is the platform's own)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
