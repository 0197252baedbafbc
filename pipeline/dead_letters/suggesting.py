"""The patch that would correct a dead letter, with … for what only its reader can know. Pure."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import jsonpatch
import msgspec

from pipeline.dead_letters.letters import Letter
from pipeline.dead_letters.patching import UNFILLED, decode_exact, encode_exact
from processors.clean.explain import CLASS_OF_TYPE
from processors.clean.shapes import Leaf, Many, Record, Shape, shape_of
from streams.dead_letters import Reason
from streams.events import Event

WHOLE: Final = f'[{{"op": "replace", "path": "", "value": {{{UNFILLED}}}}}]'
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def patch_for(letter: Letter, came: bytes | None) -> str:
    """Give the JSON Patch that touches what is wrong.

    It is no JSON until each … is replaced by a value, which for a text stands between its quotes already. A
    correction that failed is part of it, since patches are applied to what came.

    Args:
        letter: with what is wrong.
        came: the record's bytes as they came, None if nothing has kept them.
    """
    corrected = letter.replayed_payload if letter.attempt else None
    document = _read(corrected or came)
    operations = _correction(came, document) if corrected else []
    shape = shape_of(CLASS_OF_TYPE.get(letter.event_type or "", Event))
    for path in dict.fromkeys(error["path"] for error in letter.errors):
        steps = _steps(path)
        if not steps:
            return WHOLE
        is_there = letter.reason != Reason.MISSING_FIELD if document is None else _holds(document, steps)
        operations.append(
            _operation("replace" if is_there else "add", pointer_of(path), _to_fill(shape, steps))
        )
    return f"[{', '.join(operations)}]" if operations else WHOLE


def pointer_of(path: str) -> str:
    """Give the JSON Pointer (RFC 6901) of a path like `$.items[0].quantity`; empty for the whole."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in _steps(path))


def _steps(path: str) -> list[str | int]:
    return [name or int(index) for name, index in _STEP.findall(path)]


def _operation(operation: str, pointer: str, value: str) -> str:
    return f'{{"op": "{operation}", "path": {json.dumps(pointer, ensure_ascii=False)}, "value": {value}}}'


def _correction(came: bytes | None, corrected: Any) -> list[str]:
    before = _read(came)
    if before is None:
        return [_operation("replace", "", encode_exact(corrected).decode())]
    return [encode_exact(each).decode() for each in jsonpatch.make_patch(before, corrected).patch]


def _read(payload: bytes | None) -> Any:
    try:
        return decode_exact(payload or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _holds(document: Any, steps: Sequence[str | int]) -> bool:
    try:
        for step in steps:
            document = document[step]
    except (LookupError, TypeError):
        return False
    return True


def _to_fill(shape: Shape | None, steps: Sequence[str | int]) -> str:
    """Give … as the kind of value that is wanted is written: in quotes, in braces, or bare as a number."""
    if list(steps) == ["event_type"]:  # the tag of the types, none of their fields
        return f'"{UNFILLED}"'
    for step in steps:
        if isinstance(shape, Record):
            shape = shape.fields.get(str(step))
        else:
            shape = shape.item if isinstance(shape, Many) else None
    if isinstance(shape, Record):
        return f"{{{UNFILLED}}}"
    if isinstance(shape, Many):
        return f"[{UNFILLED}]"
    if isinstance(shape, Leaf) and shape.type not in (int, float, bool, Decimal):
        return f'"{UNFILLED}"'
    return UNFILLED
