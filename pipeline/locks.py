"""Keys of advisory locks in Postgres: what must not run at the same time."""

from typing import Final

CORRECTIONS: Final = 7_301_846_259_921
"""Held by a rebuild, a replay and a discard: a rebuild begins with the dead letters as they are, and ends by
putting its own in their place."""
