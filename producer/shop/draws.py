"""Random draws that the shop needs, and the identifiers made from them."""

import random
from bisect import bisect
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")

DAY = 86_400.0
HOUR = 3_600.0
MINUTE = 60.0

_VERSION_4 = 0x4000_8000_0000_0000_0000
_CLEARED = ~(0xF000_C000_0000_0000_0000)


def draw_uuid(rng: random.Random) -> UUID:
    """Draw a version 4 UUID from a seeded generator."""
    return UUID(int=(rng.getrandbits(128) & _CLEARED) | _VERSION_4)


def seeded(*parts: object) -> random.Random:
    """Make a generator of its own for what the parts name, the same in every run."""
    return random.Random("/".join(map(str, parts)))


def instant(at: float) -> datetime:
    """Give the UTC instant of seconds since 1970, in whole milliseconds."""
    return datetime.fromtimestamp(round(at * 1000) / 1000, UTC)


def draw_poisson(rng: random.Random, mean: float) -> int:
    """Draw a count; above a mean of 50 by the normal approximation."""
    if mean <= 0:
        return 0
    if mean > 50:
        return max(0, round(rng.gauss(mean, mean**0.5)))
    count, total = 0, rng.expovariate(1.0)
    while total < mean:
        count += 1
        total += rng.expovariate(1.0)
    return count


class Weighted(Generic[T]):
    """A choice by weights, prepared once."""

    def __init__(self, options: Sequence[tuple[T, float]]) -> None:
        self.values = [value for value, _ in options]
        self._sums = list(accumulate(weight for _, weight in options))

    def draw(self, rng: random.Random) -> T:
        """Draw one of the values."""
        return self.values[bisect(self._sums, rng.random() * self._sums[-1], hi=len(self.values) - 1)]
