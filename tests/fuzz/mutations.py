"""Hostile records, made of right ones: bytes, tokens, names, types and values are changed at random.

Everything follows from the generator that is given, so a record can be made again from its seed.
"""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from streams.events import EVENT_CLASSES, Stream, event_type_of

TYPES: Final = [event_type_of(c) for classes in EVENT_CLASSES.values() for c in classes]
TEXTS: Final = [
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\x01",
        "\x7f",
        "\n",
        "\u200b",
        "\u202e",
        "\ufeff",
        "\ufffd",
        "\uffff",
        "\u2028",
    ),
    *(
        "c-1 ",
        "\u0441-1",
        "\uff43-1",
        "e\u0301",
        "ß",
        "İ",
        "😀",
        "👩‍👩‍👧",
        "\U0010ffff",
        "'; DROP TABLE x; --",
        "\\u0000",
        "\\",
    ),
    *("null", "NaN", "true", "{}", "[", "%s", "\\N", "\\.", "\t", "\r\n", "../../etc/passwd"),
    *("1e999999", "1_000", "١٢", " 1", "+5", ".5", "-0", "-0.0", "0.00001", "9999999999.9999", "99999999999"),
    *("EUR", "eur", "XTS", "JPY", "DE", "d", "usd\n", "a@b", "a@b@c", "info", "critical"),
    *("2026-03-01T12:00:00", "2026-03-01T12:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    *(
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.9999999-23:59",
        "2016-12-31T23:59:60Z",
        "1970-01-01T00:00:00Z",
    ),
    *(
        "2026-03-01T24:00:00Z",
        "2026-03-01 12:00:00+14:00",
        "2026-02-30T00:00:00Z",
        "2026-03-01T12:00:00-99:99",
    ),
    *("6F1E9C1E00004000800000000000000A", "{6f1e9c1e-0000-4000-8000-00000000000a}", "6f1e9c1e"),
    *(
        "https://[::1",
        "http://a:b@c:99999/",
        "//",
        "HTTP://É.example\\@x",
        "x" * 129,
        "é" * 3000,
        "y" * 70_000,
    ),
]
NUMBERS: Final = [
    *("0", "-0", "-0.0", "1", "-1", "0.1", "1e2", "12.3400", "1e-4", "1e-5", "0.30000000000000004"),
    *("9999999999.9999", "1e10", "123456789012345678", "1e400", "-1e400", "1e999999", "1e-999999"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "-9223372036854775809"),
    *("9" * 400, "0." + "9" * 400, "1." + "0" * 400, "9" * 5000, "1e99999999999999999999"),
]
RAWS: Final = [
    *("NaN", "Infinity", "-Infinity", "+1", ".5", "01", "1.", "0x10", "'a'", "undefined", "", "nul", "tru"),
    *(r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', r'"a\u0000"', r'"\x"', r'"\u12"', '"', '"\t"', "\\"),
    *('"\\u0065"', "[" * 99 + "]" * 99, "[" * 101 + "]" * 101, '{"a":' * 98 + "1" + "}" * 98, "[" * 2000),
    *('{"a":1,"a":2}', "[]", "{}", "[{}]", "[null]", "true", "false", "null"),
]
_MARK: Final = "\x02fuzz\x02"

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutate(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """Change a record once or a few times; `others` lend parts of themselves."""
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3, 6))):
        value = rng.choice(_MUTATIONS)(rng, value, others)
    return value[: 3 * 1024 * 1024]


def random_headers(rng: random.Random, headers: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Give a record's headers, now and then others than ours."""
    if rng.random() < 0.97:
        return headers
    kept = [each for each in headers if rng.random() < 0.8]
    numbers = {"kinesis_sequence"}  # by which the judge tells records apart
    hostile = (b"", b"\xff", b"-1", b"x", b"9" * 30, b"9223372036854775808", b"1_0", " ٣".encode())
    return [
        (name, rng.choice(hostile) if name not in numbers and rng.random() < 0.3 else value)
        for name, value in kept
    ]


# bytes


def _flip(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(value or b"\0")
    for _i in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _insert(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(value) + 1)
    what = rng.choice(
        (b"\xef\xbb\xbf", b"\0", b"\xff", b"\xed\xa0\x80", b",", b'"', b"{", b"]", b"\\", b" ", b"\n")
    )
    return value[:at] + what * rng.choice((1, 1, 3)) + value[at:]


def _cut(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = sorted((rng.randrange(len(value) + 1), rng.randrange(len(value) + 1)))
    return value[:begin] + value[end:] if rng.random() < 0.5 else value[:end]


def _splice(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return value[: rng.randrange(len(value) + 1)] + other[rng.randrange(len(other) + 1) :]


def _recode(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    return value.decode(errors="replace").encode(
        rng.choice(("utf-16", "utf-16-le", "utf-32", "cp1252")), "replace"
    )


# values, in JSON


def _replace(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    return _edit(rng, value, lambda parent, key: parent.__setitem__(key, _hostile(rng)))


def _delete(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    return _edit(rng, value, lambda parent, key: parent.__delitem__(key))


def _rename(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent, dict):
            parent[rng.choice((key.upper(), key + " ", "", "é", rng.choice(TEXTS), "event_type"))] = (
                parent.pop(key)
            )

    return _edit(rng, value, change)


def _repeat(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent, list):
            parent.extend(parent[:50])
        else:  # a name twice: it is told apart by a mark, which is taken away again
            parent[_MARK + key] = _hostile(rng) if rng.random() < 0.7 else parent[key]

    return _edit(rng, value, change)


def _add(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    names = (
        "event_version",
        "context",
        "customer_id",
        "anonymous_id",
        "items",
        "discount",
        "amount",
        "x",
        "country",
    )
    return _edit(rng, value, lambda parent, _key: parent.update({rng.choice(names): _hostile(rng)}), top=True)


def _retype(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    return _edit(rng, value, lambda parent, _key: parent.update(event_type=rng.choice(TYPES)), top=True)


def _borrow(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    def change(parent: Any, _key: Any) -> None:
        other = _read(rng.choice(others))
        if isinstance(other, dict):
            parent.update({name: each for name, each in other.items() if rng.random() < 0.3})

    return _edit(rng, value, change, top=True)


def _hostile(rng: random.Random) -> Any:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return "".join(
            chr(rng.choice((rng.randrange(128), rng.randrange(0xD800), 0x1F600)))
            for _ in range(rng.randrange(12))
        )
    if kind in (2, 3):
        return _MARK + rng.choice(NUMBERS)
    if kind == 4:
        return _MARK + rng.choice(RAWS)
    return rng.choice(
        (None, True, False, [], {}, [None], {"": 0}, 0, 1, 5, -1, 2**31, 0.1, rng.uniform(-1e6, 1e6))
    )


def _edit(
    rng: random.Random, value: bytes, change: Callable[[Any, Any], object], *, top: bool = False
) -> bytes:
    found = _read(value)
    if not isinstance(found, dict) or not found:
        return value
    places = [(found, name) for name in found] if top else list(_places(found))
    change(*rng.choice(places))
    text = json.dumps(
        found, ensure_ascii=rng.random() < 0.3, separators=rng.choice(((",", ":"), (", ", ": ")))
    )
    return _unmark(text).encode(errors="replace")


def _places(found: Any) -> list[tuple[Any, Any]]:
    keys: Any = found.keys() if isinstance(found, dict) else range(min(len(found), 20))
    places = [(found, key) for key in keys]
    for key in keys:
        if isinstance(found[key], dict | list):
            places += _places(found[key])
    return places


def _unmark(text: str) -> str:
    """Write what is marked as it is, without quotes: numbers and raw texts; take marks off names."""
    mark = json.dumps(_MARK)[1:-1]
    parts = text.split(f'"{mark}')
    whole = parts[0]
    for part in parts[1:]:
        end = 0
        while part[end] != '"' or _odd_backslashes(part, end):
            end += 1
        inner = json.loads(f'"{part[:end]}"')
        is_name = part[end + 1 : end + 2] == ":"
        whole += (json.dumps(inner) if is_name else inner) + part[end + 1 :]
    return whole


def _odd_backslashes(text: str, at: int) -> bool:
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _read(value: bytes) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


_MUTATIONS: Final[Sequence[Mutation]] = (
    *(_flip, _insert, _cut, _splice, _recode),
    *(_replace, _delete, _rename, _repeat, _add, _add, _retype, _borrow),
    *[_replace] * 12,
)


def stream_for(rng: random.Random, stream: Stream, streams: Sequence[Stream]) -> Stream:
    """Give the stream a record is put to, now and then a wrong one."""
    return stream if rng.random() < 0.95 else rng.choice(streams)
