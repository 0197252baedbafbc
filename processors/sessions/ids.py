"""The ids of a session's events, by which repetitions are known: eight bytes each, the older in chunks.

A session is written whole with each batch that touches it. So it carries only its newest ids itself; 512 of
them at a time are put away under a key of their own, named by their content, and never written again.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

from processors.sessions.keys import DIGEST_BYTES, NAME_BYTES, chunk_name

ID_BYTES: Final = 8
CHUNK_IDS: Final = 512
CHUNK_BYTES: Final = CHUNK_IDS * ID_BYTES
KEPT_IDS: Final = 10_000
"""Beyond this many events a session keeps no more ids, so repetitions are no longer told apart."""
_FEW: Final = 16
REMEMBERED_CHUNKS: Final = 256
"""In memory, at some 45 KiB each."""


def hash_of(event_id: bytes) -> bytes:
    """Give what is kept of an event's id. Of 10,000 random ids two are the same in 1 of 10^11 sessions."""
    return blake2b(event_id, digest_size=ID_BYTES).digest()


def ids_among(wanted: set[bytes], ids: bytes) -> set[bytes]:
    """Give those of the wanted ids that are in a row of ids."""
    if len(wanted) <= _FEW:
        return {one for one in wanted if _is_among(one, ids)}
    return wanted.intersection(_each(ids, ID_BYTES))


def _is_among(one: bytes, ids: bytes) -> bool:
    at = ids.find(one)
    while at >= 0 and at % ID_BYTES:  # across two ids
        at = ids.find(one, at + 1)
    return at >= 0


class Chunks:
    """The ids of chunks that were looked into lately. Chunks never change, so they are as the state has them.

    Without it, each batch of a session with all its chunks would read 20 of them from the store.
    """

    def __init__(self, limit: int = REMEMBERED_CHUNKS) -> None:
        self._limit = limit
        self._ids: dict[bytes, frozenset[bytes]] = {}

    def ids_of(self, key: bytes, read: Callable[[bytes], bytes | None]) -> frozenset[bytes]:
        """Give a chunk's ids by its key; none if it has expired."""
        ids = self._ids.pop(key, None)
        if ids is None:
            ids = frozenset(_each(read(key) or b"", ID_BYTES))
            if len(self._ids) >= self._limit:
                del self._ids[next(iter(self._ids))]
        self._ids[key] = ids  # the last one used is the last to go
        return ids


def _each(row: bytes, width: int) -> Iterator[bytes]:
    return (row[i : i + width] for i in range(0, len(row), width))


def names_of(chunks: bytes) -> Iterator[bytes]:
    """Give the names of a session's chunks."""
    return _each(chunks, NAME_BYTES)


def sealed(day: int, ids: bytes, *, whole: bool) -> tuple[bytes, dict[bytes, bytes]]:
    """Part ids into what a session goes on carrying itself, and chunks by their names.

    Args:
        day: of the session's start; chunks expire with it.
        ids: that the session carries.
        whole: seal the rest too: the session will get no more ids.
    """
    chunks: dict[bytes, bytes] = {}
    while len(ids) >= CHUNK_BYTES or (whole and ids):
        chunk, ids = ids[:CHUNK_BYTES], ids[CHUNK_BYTES:]
        chunks[chunk_name(day, blake2b(chunk, digest_size=DIGEST_BYTES).digest())] = chunk
    return ids, chunks


def capped(ids: bytes, chunks: bytes) -> tuple[bytes, bytes]:
    """Give the ids that an overfull session goes on carrying, and its chunks: `KEPT_IDS` at most."""
    names = chunks[: -(-KEPT_IDS // CHUNK_IDS) * NAME_BYTES]
    room = max(0, KEPT_IDS - len(names) // NAME_BYTES * CHUNK_IDS)
    return ids[: room * ID_BYTES], names
