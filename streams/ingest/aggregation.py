"""Records that the Kinesis Producer Library packed into one.

KCL unpacks them by itself; the in-process driver does it here. The format is Amazon's (`KPL aggregated record
format`): four magic bytes, a protobuf message, its MD5. Of the message: field 1 is a table of partition keys,
field 3 a record, with the index of its partition key in field 1 and its data in field 3.
"""

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

MAGIC: Final = b"\xf3\x89\x9a\xc2"
DIGEST_BYTES: Final = 16
_VARINT: Final = 0
_BYTES: Final = 2


class Packed(NamedTuple):
    """One of the records in an aggregated one."""

    partition_key: str
    data: bytes


def unpack(data: bytes) -> list[Packed] | None:
    """Give the records in an aggregated one, in their order; None if it is not one."""
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + DIGEST_BYTES:
        return None
    message, digest = data[len(MAGIC) : -DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        return None
    try:
        return _unpack_message(message)
    except (IndexError, UnicodeDecodeError):
        return None


def _unpack_message(message: bytes) -> list[Packed]:
    keys: list[str] = []
    records: list[bytes] = []
    for number, value in _fields(message):
        if isinstance(value, bytes):
            if number == 1:
                keys.append(value.decode())
            elif number == 3:  # noqa: PLR2004  (the field's number in the format)
                records.append(value)
    unpacked = []
    for record in records:
        fields = dict(_fields(record))
        index, data = fields.get(1, 0), fields.get(3, b"")
        if not isinstance(index, int) or not isinstance(data, bytes):
            raise IndexError("a field has another type than the format says")
        unpacked.append(Packed(keys[index], data))
    return unpacked


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise IndexError("a field is longer than its message")
            yield number, message[at : at + length]
            at += length
        else:
            raise IndexError("a kind of field that the format does not have")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:  # noqa: PLR2004  (the highest bit says that more follows)
            return value, at
        shift += 7
