"""When what is to be struck: drawn from a seed, so that a run can be repeated. Pure."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Strike(NamedTuple):
    """One strike: seconds to wait after the one before, and what is struck."""

    after_seconds: float
    target: str


def strikes(
    seed: int, count: int, targets: Sequence[str], *, every_seconds: tuple[float, float]
) -> Iterator[Strike]:
    """Draw strikes; of any `len(targets)` that follow each other from the start on, each target has one.

    Args:
        seed: the same seed gives the same strikes.
        count: how many.
        targets: what can be struck.
        every_seconds: the shortest and the longest pause before a strike.
    """
    rng = random.Random(f"strikes {seed}")
    left: list[str] = []
    for _ in range(count):
        if not left:
            left = rng.sample(list(targets), len(targets))
        yield Strike(rng.uniform(*every_seconds), left.pop())
