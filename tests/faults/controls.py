"""Steps broken on purpose: what they lose or double must be found, or nothing else that is found counts."""

import time
from dataclasses import dataclass
from typing import ClassVar

from tests.faults.fault import SLICE, WORKERS, Fault
from tests.faults.kills import KillAt
from tests.faults.patches import HOLES
from tests.faults.world import FaultError, World

HOLES_SECONDS = 90.0
AFTERWARDS_SECONDS = 5


@dataclass(frozen=True)
class Broken(KillAt):
    """A worker with a broken step (see `tests.faults.patches`), killed where that must show."""

    must_be_found: ClassVar[bool] = True
    patch: str = ""

    def run(self, world: World) -> None:
        world.patch(self.worker, self.patch)
        super().run(world)
        # The damage is done; what comes after goes the right way.
        world.patch(self.worker, None)
        world.stop(self.worker)
        world.start(self.worker)


@dataclass(frozen=True)
class DroppedBatches(Fault):
    """Fetched batches vanish on the way to their agent; the worker notices, and starts over."""

    patch: str = "dropped_batch"

    def run(self, world: World) -> None:
        world.stop("process")
        world.patch("process", self.patch)
        world.start(*world.ingests, *WORKERS)
        holes = world.home / "faults" / "holes"
        deadline = time.monotonic() + HOLES_SECONDS
        while not holes.exists() or holes.read_text().count("\n") < HOLES:
            if time.monotonic() > deadline:
                raise FaultError("no batch was dropped")
            world.feed.send(SLICE)
            time.sleep(0.5)
        for hole in holes.read_text().splitlines():
            world.note("process", hole)
        for _ in range(AFTERWARDS_SECONDS):  # what comes behind the holes is done, and must not be committed
            world.feed.send(SLICE // 2)
            time.sleep(1)
        world.patch("process", None)


@dataclass(frozen=True)
class BookPastAHole(DroppedBatches):
    """The same with a book that does not notice."""

    must_be_found: ClassVar[bool] = True
    patch: str = "book_past_a_hole"
