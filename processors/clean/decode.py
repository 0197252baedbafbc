"""Bytes to a typed event, or every reason why not."""

import re
from decimal import Decimal
from typing import Final

import msgspec

from processors.clean.explain import CLASS_OF_TYPE, DECIMAL_STRING, Explained, explain, repeated_names
from processors.clean.json_text import MAX_DEPTH, too_deep_at
from processors.clean.shapes import Leaf, Many, Shape, shape_of
from processors.outcomes import Problem, problem
from streams.dead_letters import Reason
from streams.events import DECODERS, MAX_EVENT_BYTES, Event, Stream

_NUL_ESCAPE: Final = b"\\u0000"
"""How JSON spells NUL, which Postgres cannot store; a raw one is no JSON."""


def _decimal_names(shape: Shape) -> set[str]:
    if isinstance(shape, Many):
        return _decimal_names(shape.item)
    if isinstance(shape, Leaf):
        return set()
    decimals = {n for n, inner in shape.fields.items() if isinstance(inner, Leaf) and inner.type is Decimal}
    return decimals.union(*map(_decimal_names, shape.fields.values()))


def _odd_decimal(event_class: type[Event]) -> re.Pattern[bytes] | None:
    """Give what finds a decimal string that Python would read and our rule does not, such as "1_000"."""
    names = _decimal_names(shape_of(event_class))
    if not names:
        return None
    known = rf'"(?:{"|".join(sorted(names))})"\s*:\s*"(?!{DECIMAL_STRING}")'
    escaped = r'"[^"\\]*\\u[^"]*"\s*:'  # a name that is spelled with escapes may be any
    return re.compile(f"{known}|{escaped}".encode())


_ODD_DECIMALS: Final = {c: odd for c in CLASS_OF_TYPE.values() if (odd := _odd_decimal(c)) is not None}


def decode_event(stream: Stream, value: bytes) -> Event | Explained:
    """Decode a record; if something is wrong with it, give all of that, found by a second, slower look."""
    early = _unreadable(value)
    if early:
        return Explained(None, [early])
    try:
        if not value.isascii():
            value.decode()  # the decoder looks only at texts that it keeps
        event: Event = DECODERS[stream].decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _explained(stream, value)
    odd = _ODD_DECIMALS.get(type(event))
    if _NUL_ESCAPE in value or (odd is not None and odd.search(value)):
        explained = explain(stream, value)
        return explained if explained.problems else event
    return event


def _unreadable(value: bytes) -> Problem | None:
    if len(value) > MAX_EVENT_BYTES:
        return problem(Reason.TOO_LARGE, "$", f"{len(value)} bytes, at most {MAX_EVENT_BYTES} are taken")
    too_deep = too_deep_at(value)
    if too_deep is not None:
        return problem(Reason.INVALID_VALUE, "$", f"nested deeper than {MAX_DEPTH} levels (byte {too_deep})")
    return None


def _explained(stream: Stream, value: bytes) -> Explained:
    explained = explain(stream, value)
    if explained.problems:
        return explained
    problems = repeated_names(value)
    if not problems:  # the decoder and the second look disagree: keep the record rather than guess
        problems = [problem(Reason.PROCESSING_ERROR, "$", "refused, but each field of it is right")]
    return explained._replace(problems=problems)
