"""What a fault is."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.faults.world import Kind, World

WORKERS = ("process", "sink")
SLICE = 500


class SkippedError(Exception):
    """A fault cannot be made here; the message says why."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault. Subclasses say how it strikes.

    `name` is how it is chosen and shown. `world`: how events come in. `alone`: in a pipeline of its
    own, that nothing has run in and nothing else runs in after. `must_be_found`: it is no fault but a step
    broken on purpose.
    """

    name: str
    world: Kind = "raw"
    alone: bool = False
    must_be_found: ClassVar[bool] = False

    def prepared(self, home: Path) -> AbstractContextManager[None]:  # noqa: ARG002  (for those that need it)
        """Make ready what must be there before the pipeline, and take it away after.

        Raises:
            SkippedError: this machine cannot do it.
        """
        return nullcontext()

    def run(self, world: World) -> None:
        """Strike while events flow, and note each strike in the world.

        Raises:
            FaultError: it cannot strike, or the pipeline does not come through.
        """
        raise NotImplementedError
