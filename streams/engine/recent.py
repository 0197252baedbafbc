"""The values of tables that were used last, in memory: a look into the store costs ten times as much.

There are two generations. When the younger one is full the older one is forgotten and the younger takes
its place; what is used again moves into the younger. That forgets about the same as an order of use would,
and costs less than keeping one.
"""

from threading import Lock
from typing import Final
from weakref import WeakSet

ENTRY_BYTES: Final = 250
"""Memory of an entry beside its key and value: the objects, and its place in a table of hashes."""


class RecentMemory:
    """What the recent values of all tables of a process may take together.

    Args:
        limit_bytes: about, of both generations.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes // 2
        self._taken = 0
        self._tables: WeakSet[RecentValues] = WeakSet()
        self._lock = Lock()  # tables are opened in threads

    def values(self) -> "RecentValues":
        """Make the recent values of one more table."""
        made = RecentValues(self)
        with self._lock:
            self._tables.add(made)
        return made

    def take(self, size: int) -> None:
        """Note that the younger generation has grown, and begin a new one if it is full."""
        self._taken += size
        if self._taken > self._limit:
            self._taken = 0
            with self._lock:
                for table in self._tables:
                    table.age()


class RecentValues:
    """Packed values of one table; made by `RecentMemory.values`."""

    def __init__(self, memory: RecentMemory) -> None:
        self._memory = memory
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Give the value of a key, None if it is not here."""
        packed = self._young.get(key)
        if packed is None:
            packed = self._old.get(key)
            if packed is not None:
                self.put(key, packed)
        return packed

    def put(self, key: bytes, packed: bytes) -> None:
        """Keep a value."""
        before = self._young.get(key)
        self._young[key] = packed
        self._memory.take(
            ENTRY_BYTES + len(key) + len(packed) if before is None else len(packed) - len(before)
        )

    def forget(self, key: bytes) -> None:
        """Keep no value of a key."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        """Keep nothing."""
        self._young, self._old = {}, {}

    def age(self) -> None:
        """Begin a new generation."""
        self._young, self._old = {}, self._young
