"""Values as COPY's binary format has them, where psycopg would want other objects than we have.

Ids and JSON documents are texts here from the moment they were read. As objects they would be made once
more, only to be written out again.
"""

import struct
from typing import Any, Final

import psycopg
from psycopg import adapters
from psycopg.adapt import Dumper
from psycopg.pq import Format

UUID_BYTES: Final = 16


class _Uuid(Dumper):
    format = Format.BINARY
    oid = adapters.types["uuid"].oid

    def dump(self, obj: str) -> bytes:
        try:
            found = bytes.fromhex(obj.replace("-", ""))
        except ValueError as error:
            raise psycopg.DataError(f"no UUID: {obj!r}") from error
        if len(found) != UUID_BYTES:
            raise psycopg.DataError(f"no UUID: {obj!r}")
        return found


class _Small(Dumper):
    """Of psycopg's own, those of 2 and 4 bytes cut what is too large without a word; that of 8 does not."""

    format = Format.BINARY
    oid = adapters.types["int2"].oid
    _pack = struct.Struct(">h").pack

    def dump(self, obj: int) -> bytes:
        try:
            return self._pack(obj)
        except struct.error as error:
            raise psycopg.DataError(f"no {adapters.types[self.oid].name}: {obj}") from error


class _Medium(_Small):
    oid = adapters.types["int4"].oid
    _pack = struct.Struct(">i").pack


class _Json(Dumper):
    format = Format.BINARY
    oid = adapters.types["json"].oid

    def dump(self, obj: str) -> bytes:
        return obj.encode()


class _Jsonb(Dumper):
    format = Format.BINARY
    oid = adapters.types["jsonb"].oid

    def dump(self, obj: str) -> bytes:
        return b"\x01" + obj.encode()  # the version of the format


def take_values(connection: psycopg.Connection[Any]) -> None:
    """Let a connection's binary COPY, its types being set, take ids and JSON as texts, and cut no number."""
    for dumper in (_Uuid, _Small, _Medium, _Json, _Jsonb):
        connection.adapters.register_dumper(None, dumper)


def type_name(sql: str) -> str:
    """Give the name by which psycopg knows a type of SQL, such as `numeric` of `NUMERIC(18, 4)`."""
    return sql.partition("(")[0].lower()
