"""Keys of the sessions' state, day first: hot keys lie together, and what is old is a walk from the lowest.

A visitor's day is `day, visitor`. A chunk of event ids is `day, visitor, NUL, digest`: no text that gets
this far holds a NUL character. The partition's clock sorts behind all days.
"""

import struct
from datetime import date
from typing import Final

_DAY: Final = struct.Struct(">I")
_BEFORE_1970: Final = 2**31
"""Added to days, so that those before 1970 sort too."""
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
DIGEST_BYTES: Final = 8
NAME_BYTES: Final = _DAY.size + DIGEST_BYTES

CLOCK_KEY: Final = b"\xffclock"


def day_bound(day: int) -> bytes:
    """Give the key that all keys of earlier days are below (days since 1970-01-01)."""
    return _DAY.pack(day + _BEFORE_1970)


def day_key(visitor_id: str, day: int) -> bytes:
    """Give the key of a visitor's day record."""
    return day_bound(day) + visitor_id.encode()


def chunk_name(day: int, digest: bytes) -> bytes:
    """Give the name by which a session knows a chunk of its ids."""
    return day_bound(day) + digest


def chunk_key(visitor_id: str, name: bytes) -> bytes:
    """Give the key of a chunk from its name."""
    return name[: _DAY.size] + visitor_id.encode() + b"\x00" + name[_DAY.size :]


def date_of(day: int) -> date:
    """Give the date of a day counted from 1970-01-01."""
    return date.fromordinal(_EPOCH_ORDINAL + day)
