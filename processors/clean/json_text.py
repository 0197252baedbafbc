"""A second look at a JSON text: where it is broken, how deep it is, and all that it says.

A decoder for speed stops at the first fault and forgets how numbers were spelled and which names came twice.
This reads the same texts, and those with lone surrogates, and keeps all of that.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 100
"""Levels of objects and arrays. A limit of our own: a parser's depends on how deep its caller stands."""

NAME_CHARACTERS: Final = 60
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_CONSTANT: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|-?Infinity|NaN', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Number(str):
    """A number as it was spelled."""

    __slots__ = ()


class Fields(dict[str, Any]):
    """An object; of a name that came more than once the last value is kept, and the name."""

    repeated: tuple[str, ...] = ()


def too_deep_at(value: bytes) -> int | None:
    """Give the byte at which a text is nested deeper than `MAX_DEPTH`, None if it is not."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return None
    depth = 0
    for found in _STRUCTURE.finditer(value):
        mark = value[found.start()]
        if mark in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return found.start()
        elif mark in b"]}":
            depth -= 1
    return None


def read_json(text: str) -> Any:
    """Read a text: objects as `Fields`, numbers as `Number`, lone surrogates as they are.

    Raises:
        ValueError: it is no JSON; the message says what and at which byte.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_fields,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
        )
    except ValueError as error:
        raise ValueError(_syntax_error(text, error)) from None


def paths_of_surrogates(value: Any, path: str = "$") -> Iterator[str]:
    """Find the texts that hold half a surrogate pair; a name that does is given as its object's path."""
    for step, inner in _members(value):
        if isinstance(step, str) and _SURROGATE.search(step):
            yield path
        elif isinstance(inner, str):
            if _SURROGATE.search(inner):
                yield path_to(path, step)
        elif inner:
            yield from paths_of_surrogates(inner, path_to(path, step))


def paths_of_repeated(value: Any, path: str = "$") -> Iterator[str]:
    """Find the names that an object has more than once."""
    if isinstance(value, Fields):
        for name in value.repeated:
            yield path_to(path, name)
    for step, inner in _members(value):
        if inner and isinstance(inner, dict | list):
            yield from paths_of_repeated(inner, path_to(path, step))


def path_to(path: str, step: str | int) -> str:
    """Give the path of a member; of a long name only the beginning, or paths would take longer than texts."""
    return f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step[:NAME_CHARACTERS]}"


def _members(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _fields(pairs: list[tuple[str, Any]]) -> Fields:
    fields = Fields(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        fields.repeated = tuple(name for name, count in counts.items() if count > 1)
    return fields


class _ConstantError(ValueError):
    """NaN or an infinity, which JavaScript knows and JSON does not."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(f"{name} is no JSON")


def _syntax_error(text: str, error: ValueError) -> str:
    value = text.encode()
    if not value.strip():
        return "the record is empty"
    if value.startswith(_BYTE_ORDER_MARK):
        return "begins with a byte order mark (byte 0): send UTF-8 without it"
    if b"\0" in value[:4]:
        return f"byte {value.index(0)} is NUL: send UTF-8, not UTF-16 or UTF-32"
    if isinstance(error, _ConstantError):
        return f"{error} (byte {_constant_at(value)})"
    if isinstance(error, json.JSONDecodeError):
        at = len(text[: error.pos].encode())
        return f"{'ends in the middle' if at >= len(value) else error.msg} (byte {at})"
    return str(error)


def _constant_at(value: bytes) -> int:
    return next(found.start() for found in _CONSTANT.finditer(value) if value[found.start()] != ord('"'))
