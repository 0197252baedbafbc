"""Clocks that jump: workers whose wall clock is libfaketime's, while their monotonic one goes on as it is.

libfaketime (a package of development) answers what a process asks its wall clock, and
reads at each question from a file how far that is to be off. It leaves out one function by which librdkafka
waits; `waits.c` beside this file, compiled when it is needed, does that one, as a kernel does it whose clock
is set.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.faults.entry import CLOCK, CLOCK_FILE, ENVIRONMENT
from tests.faults.fault import SLICE, WORKERS, Fault, SkippedError
from tests.faults.kills import FLOW_PER_SECOND
from tests.faults.world import FaultError, World

HOUR = 3_600
DAY = 86_400
OFFSETS = (0, HOUR, 0, -DAY, 0)
"""Where a clock goes that stood a day ahead, in seconds off the true time."""
SEEN_SECONDS = 15.0
STRIKE_SECONDS = 60.0
NEAR_SECONDS = 1.0
SOURCE = Path(__file__).with_name("waits.c")
PROBE = "import time; print(time.time(), time.monotonic())"
WAITS = "waits.so"


def jump_words(seconds: int) -> str:
    """Say how far a clock jumps, and which way."""
    count, unit = (abs(seconds) // DAY, "day") if seconds % DAY == 0 else (abs(seconds) // HOUR, "hour")
    many = f"{count} {unit}s" if count > 1 else f"{'an' if unit == 'hour' else 'a'} {unit}"
    return f"{many} {'forward' if seconds > 0 else 'back'}"


def true_offset(wall_less_monotonic: float) -> float:
    """Give how far another process's wall clock is off ours, in seconds.

    Args:
        wall_less_monotonic: its wall clock less its monotonic one, which is the machine's.
    """
    return wall_less_monotonic - (time.time() - time.monotonic())


def find_library() -> Path:
    """Give libfaketime; raises SkippedError where it is not installed."""
    found = find_spec("libfaketime")
    folder = Path(found.origin).parent if found is not None and found.origin else Path()
    library = folder / "vendor/libfaketime/src/libfaketime.so.1"
    if not library.is_file():
        raise SkippedError("libfaketime is not installed here")
    return library


def compile_waits(folder: Path) -> Path:
    """Compile what libfaketime leaves out; raises SkippedError where that cannot be done."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SkippedError("there is no C compiler here")
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / WAITS
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkippedError(f"{SOURCE.name} cannot be compiled here")
    return made


def faked(libraries: Sequence[Path], clock: Path) -> dict[str, str]:
    """Give the environment of a process whose wall clock is as a file says."""
    return {
        "LD_PRELOAD": " ".join(map(str, libraries)),
        CLOCK_FILE: str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


def check_works(environment: Mapping[str, str]) -> None:
    """Look whether a wall clock is set off here by it, and only that; else raise SkippedError."""
    clock = Path(environment[CLOCK_FILE])
    clock.write_text(f"{DAY:+d}\n")
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=dict(environment), capture_output=True, text=True, check=False
    )
    try:
        wall, monotonic = map(float, done.stdout.split())
    except ValueError:
        raise SkippedError("libfaketime does not work here") from None
    ahead = wall - time.time()
    if abs(ahead - DAY) > HOUR or not 0 <= time.monotonic() - monotonic < HOUR:
        raise SkippedError("libfaketime does not work here")


class Clock:
    """The wall clock of one program of the harness, from its next start on.

    Args:
        folder: of the program (`World.folder`).
        libraries: to be loaded before others.
    """

    def __init__(self, folder: Path, libraries: Sequence[Path]) -> None:
        self._folder = folder
        self._file = folder / "clock"
        self._libraries = libraries
        self.offset = 0

    def take(self, offset: int) -> None:
        """Have the program start with a clock that is off by so many seconds."""
        self.set(offset)
        environment = json.dumps(faked(self._libraries, self._file))
        (self._folder / ENVIRONMENT).write_text(environment)

    def give_back(self) -> None:
        """Have the program start with the machine's clock again."""
        (self._folder / ENVIRONMENT).unlink()

    def set(self, offset: int) -> None:
        """Set the clock, at once."""
        unfinished = self._folder / "clock.new"
        unfinished.write_text(f"{offset:+d}\n")
        unfinished.rename(self._file)
        self.offset = offset

    def wait_until_seen(self, seconds: float = SEEN_SECONDS) -> None:
        """Wait until the program itself has seen the clock as it is set.

        Raises:
            FaultError: it has not, in time.
        """
        deadline = time.monotonic() + seconds
        seen = self._folder / CLOCK
        while not (seen.exists() and self._is_near(seen.read_text())):
            if time.monotonic() > deadline:
                raise FaultError(f"{self._folder.name} has not seen its clock jump")
            time.sleep(0.01)

    def _is_near(self, seen: str) -> bool:
        # An empty file is one that is being written.
        return bool(seen) and abs(true_offset(float(seen)) - self.offset) < NEAR_SECONDS


def check_loaded(pid: int, library: Path) -> None:
    """Raise FaultError unless a process and all that it has started have a library loaded."""
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        if library.name not in Path(f"/proc/{process.pid}/maps").read_text():
            raise FaultError(f"{' '.join(process.cmdline())} runs without {library.name}")


@dataclass(frozen=True)
class ClockJumps(Fault):
    """The wall clocks of workers stand a day off from the start, and jump while events flow.

    All start a day ahead. Then one after the other goes back to the true time, forward and back by an
    hour, back and forward by a day, each time with work unfinished. In the end all start a day behind.
    """

    alone: bool = True

    def prepared(self, home: Path) -> AbstractContextManager[None]:
        """See whether clocks can be set off here."""
        folder = home / "faults"
        libraries = (compile_waits(folder), find_library())
        check_works(faked(libraries, folder / "clock"))
        return nullcontext()

    def run(self, world: World) -> None:
        libraries = (world.home / "faults" / WAITS, find_library())
        names = (*world.ingests, *WORKERS)
        clocks = {name: Clock(world.folder(name), libraries) for name in names}
        self._start_all(world, clocks, DAY)
        for name in names:
            for library in libraries:
                check_loaded(world.pid(name), library)
        world.feed.start(2 * FLOW_PER_SECOND)
        for name, clock in clocks.items():
            for offset in OFFSETS:
                self._strike(world, name, clock, offset)
        world.feed.stop()
        world.settle()
        world.stop(*names)
        self._start_all(world, clocks, -DAY)
        world.settle()
        for clock in clocks.values():
            clock.give_back()
        world.stop(*names)
        world.start(*names)

    def _start_all(self, world: World, clocks: Mapping[str, Clock], offset: int) -> None:
        """Start all with clocks that are off, when work is waiting for each, and wait for all to move."""
        for clock in clocks.values():
            clock.take(offset)
        world.feed.send(2 * SLICE)
        began = time.monotonic()
        world.start(*clocks)
        way = "ahead" if offset > 0 else "behind"

        def wait(name: str) -> None:
            clocks[name].wait_until_seen(STRIKE_SECONDS)
            deadline = time.monotonic() + STRIKE_SECONDS
            while not (before := world.place_of(name).waiting()):
                if time.monotonic() > deadline:
                    raise FaultError(f"nothing has waited for {name}")
                time.sleep(0.01)
            world.wait_moved(name, before, began)
            world.note(f"{name}, started a day {way}", f"{len(before)} parts")

        with ThreadPoolExecutor(len(clocks)) as pool:
            list(pool.map(wait, clocks))

    def _strike(self, world: World, name: str, clock: Clock, offset: int) -> None:
        """Have a clock jump; if nothing is unfinished then, put it back and have it jump again."""
        before_it, deadline = clock.offset, time.monotonic() + STRIKE_SECONDS
        place = world.place_of(name)
        while True:
            clock.set(offset)
            clock.wait_until_seen()
            jumped = time.monotonic()
            before = place.waiting()
            if before:
                break
            if jumped > deadline:
                raise FaultError(f"the clock of {name} always jumped with nothing unfinished")
            clock.set(before_it)
            clock.wait_until_seen()
            time.sleep(0.2)
        recovery = world.wait_moved(name, before, jumped)
        world.note(f"{name}, {jump_words(offset - before_it)}", f"{len(before)} parts", recovery)
