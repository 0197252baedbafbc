"""Disks that are full for a while: small file systems of their own, where such can be mounted."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault import SLICE, WORKERS, Fault, SkippedError
from tests.faults.world import FaultError, World

FULL = "No space left on device"
STRIKE_SECONDS = 60.0
FULL_SECONDS = 10.0


@dataclass(frozen=True)
class FullDisk(Fault):
    """A folder's disk is full, work goes on coming, and after some time there is room again.

    `folder`: below the home. `megabytes`: of its disk. `program`: in whose log the refusal is looked for.
    """

    alone: bool = True
    folder: str = "state"
    megabytes: int = 64
    program: str = "process"

    @contextmanager
    def prepared(self, home: Path) -> Iterator[None]:
        """Mount the disk."""
        disk = home / self.folder
        disk.mkdir(parents=True)
        mount = shutil.which("mount")
        options = f"size={self.megabytes}m,mode=755"
        command = [mount or "", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
            raise SkippedError("no small file system can be mounted here")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        world.feed.send(SLICE)
        world.settle()
        refusals = self._refusals(world)
        place = world.places["process" if self.program == "process" else "sink"]
        filler = world.home / self.folder / "filler"
        began = time.monotonic()
        try:
            fill(filler)
            while self._refusals(world) == refusals:
                if time.monotonic() - began > STRIKE_SECONDS:
                    raise FaultError(f"nobody was refused in {STRIKE_SECONDS:.0f} s of a full disk")
                world.feed.send(SLICE)
                time.sleep(0.5)
                fill(filler)
            time.sleep(FULL_SECONDS)
            before = place.waiting()
        finally:
            filler.unlink()
        ended = time.monotonic()
        if not before:
            raise FaultError("the disk was full and nothing was unfinished")
        for program in (*WORKERS, "postgres"):
            world.no_pause(program)
        recovery = world.wait_moved(self.program if self.program in WORKERS else "sink", before, ended)
        world.note(f"disk of {self.folder}", f"{len(before)} parts", recovery)

    def _refusals(self, world: World) -> int:
        return world.platform.log_file(self.program).read_text(errors="replace").count(FULL)


def fill(path: Path) -> None:
    """Take all the room that is left, by appending to a file."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(os.urandom(size))
