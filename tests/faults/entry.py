"""A program of the pipeline as the harness starts it: first what it is to suffer this time, then the command.

    python -m tests.faults.entry NAME COMMAND…

In the folder `faults/NAME` of the home: `hold` (it waits while that is there), `order` (failpoints, for one
start only: the file is taken away), `patch` (the name of a step to break, at every start), `environment.json`
(variables, at every start). It writes `passed`: a line at each start, then the failpoints that are passed,
each once; and, where its clock may jump, `clock.seen`: the wall clock less the monotonic one, in seconds.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from tests.faults.patches import PATCHES

ENVIRONMENT = "environment.json"
START = "start"
CLOCK = "clock.seen"
CLOCK_FILE = "FAKETIME_TIMESTAMP_FILE"
LOADED_FIRST = "LD_PRELOAD"
JUMP_SECONDS = 0.5


def take_order(folder: Path) -> str:
    """Give the failpoints that this start is to be armed with, and see to it that the next is not."""
    order = folder / "order"
    taken = folder / "order.taken"
    try:
        order.rename(taken)
    except FileNotFoundError:
        return ""
    return taken.read_text().strip()


def watch_clock(seen: Path) -> None:
    """Write down where the wall clock stands, whenever it has jumped."""
    told = float("inf")
    while True:
        now = time.time() - time.monotonic()
        if abs(now - told) > JUMP_SECONDS:
            told = now
            seen.write_text(f"{now}")
        time.sleep(0.02)


def main() -> None:
    name, *arguments = sys.argv[1:]
    folder = Path(os.environ["PIPELINE_HOME"]) / "faults" / name
    folder.mkdir(parents=True, exist_ok=True)
    while (folder / "hold").exists():
        time.sleep(0.05)
    loaded_first = os.environ.get(LOADED_FIRST)
    for settings in (folder.parent / ENVIRONMENT, folder / ENVIRONMENT):
        if settings.exists():
            os.environ.update(json.loads(settings.read_text()))
    if os.environ.get(LOADED_FIRST) != loaded_first:
        # What is to be loaded before all else can be so only in a new program; this one becomes it.
        os.execv(sys.executable, [sys.executable, "-m", "tests.faults.entry", name, *arguments])
    if CLOCK_FILE in os.environ:
        seen = folder / CLOCK
        seen.unlink(missing_ok=True)
        threading.Thread(target=watch_clock, args=(seen,), daemon=True).start()
    passed = folder / "passed"
    with passed.open("a") as file:
        file.write(f"{START}\n")
    points = [take_order(folder), f"record={passed}"]
    os.environ["PIPELINE_FAILPOINTS"] = ",".join(filter(None, points))
    sys.stderr.write(f"starting {name} with {os.environ['PIPELINE_FAILPOINTS']}\n")
    patch = folder / "patch"
    if patch.exists():
        PATCHES[patch.read_text()]()
    sys.argv = ["pipeline", *arguments]
    from pipeline.cli import main as run  # noqa: PLC0415  (after the environment is as it shall be)

    run()


if __name__ == "__main__":
    main()
