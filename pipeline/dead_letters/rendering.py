"""A payload as people read it, with what is wrong with it written where it is wrong. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from pipeline.dead_letters.patching import decode_exact

LONGEST_TEXT: Final = 200
"""Characters of a text that are shown."""
MOST_LINES: Final = 200
"""Lines that are shown of a payload; those with an error are shown in any case."""

Error = dict[str, str]


@dataclass(frozen=True)
class Line:
    """A line of a payload; `error` is what is wrong in it, empty if nothing is."""

    text: str
    error: str = ""


def payload_lines(payload: bytes | None, errors: Sequence[Error]) -> list[Line]:
    """Give a payload line by line: JSON indented, anything else as text with its odd bytes spelled out.

    What is missing has a line of its own, in brackets, in the object it is missing from.
    """
    of_path: dict[str, str] = {}
    for error in errors:
        before = of_path.get(error["path"])
        of_path[error["path"]] = f"{before}; {error['message']}" if before else error["message"]
    if payload is None:
        return [Line("(no payload is kept)", _rest(of_path))]
    try:
        document = decode_exact(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = payload.decode(errors="backslashreplace")
        lines = [Line(_cut(line)) for line in _printable(text).split("\n")]
        return _shortened([Line(lines[0].text, _rest(of_path)), *lines[1:]])
    pending = dict(of_path)
    lines = list(_lines(document, "$", "", "", pending))
    # What points to no place in the document is about the whole of it.
    if pending:
        lines.insert(0, Line("", _rest(pending, with_path=True)))
    return _shortened(lines)


def _lines(value: Any, path: str, label: str, indent: str, errors: dict[str, str]) -> Iterator[Line]:
    error = errors.pop(path, "")
    inner = indent + "  "
    if isinstance(value, dict):
        missing = _missing(value, path, errors)
        yield Line(f"{indent}{label}{{", error)
        for name, one in value.items():
            yield from _lines(one, f"{path}.{name}", f"{_scalar(name)}: ", inner, errors)
        for name in missing:
            yield Line(f"{inner}[{name}]", errors.pop(f"{path}.{name}"))
        yield Line(f"{indent}}}")
    elif isinstance(value, list):
        yield Line(f"{indent}{label}[", error)
        for i, one in enumerate(value):
            yield from _lines(one, f"{path}[{i}]", "", inner, errors)
        yield Line(f"{indent}]")
    else:
        yield Line(f"{indent}{label}{_scalar(value)}", error)


def _missing(value: dict[str, Any], path: str, errors: dict[str, str]) -> list[str]:
    start = f"{path}."
    names = [other.removeprefix(start) for other in errors if other.startswith(start)]
    return [name for name in names if name not in value and "." not in name and "[" not in name]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _cut(_printable(json.dumps(value, ensure_ascii=False)))
    return str(value) if isinstance(value, Decimal) else _cut(json.dumps(value))


def _cut(text: str) -> str:
    more = len(text) - LONGEST_TEXT
    return text if more <= 0 else f"{text[:LONGEST_TEXT]}… ({more} characters more)"


def _printable(text: str) -> str:
    """Spell out what a terminal would obey or hide, but for line breaks."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _shortened(lines: list[Line]) -> list[Line]:
    shown = [line for number, line in enumerate(lines) if number < MOST_LINES or line.error]
    left_out = len(lines) - len(shown)
    return [*shown, Line(f"… ({left_out} lines more)")] if left_out else shown


def _rest(errors: dict[str, str], *, with_path: bool = False) -> str:
    return "; ".join(
        f"{path}: {message}" if with_path or path != "$" else message for path, message in errors.items()
    )
