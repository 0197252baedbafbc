"""Corrections of payloads: a JSON Patch (RFC 6902) or a JSON Merge Patch (RFC 7396). Pure.

Numbers keep every digit: amounts are decimals here, never binary floats.
"""

from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import jsonpatch
import msgspec
from jsonpointer import JsonPointerException

decode_exact: Final = msgspec.json.Decoder(float_hook=Decimal).decode
encode_exact: Final = msgspec.json.Encoder(decimal_format="number").encode

UNFILLED: Final = "…"
"""What stands in a suggested patch for a value that is to be filled in."""
_UNREADABLE: Final = object()


NOT_FILLED_IN: Final = f"the patch is not filled in: put a value in the place of each {UNFILLED}"


class PatchError(Exception):
    """What was given is no patch; the message says why."""


class UnfitError(Exception):
    """The patch does not fit this payload; the message says why."""


@dataclass(frozen=True)
class Patch:
    """What is to be changed; `replaces_whole` patches also correct what is no JSON at all."""

    apply: Callable[[Any], Any]
    replaces_whole: bool = False


def read_patch(text: str | bytes) -> Patch:
    """Read a patch: an array is a JSON Patch, an object a JSON Merge Patch.

    Raises:
        PatchError: it is neither.
    """
    try:
        given = decode_exact(_without_mark(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = text.decode(errors="replace") if isinstance(text, bytes) else text
        if UNFILLED in shown:
            raise PatchError(NOT_FILLED_IN) from error
        raise PatchError(f"the patch is no JSON: {error}") from error
    if _is_unfilled(given):
        raise PatchError(NOT_FILLED_IN)
    if given in ([], {}):
        raise PatchError("the patch is empty")
    if isinstance(given, dict):
        return Patch(lambda document: merge_patch(document, given))
    if not isinstance(given, list):
        raise PatchError(
            "the patch is neither a JSON Patch (an array of operations) nor a JSON Merge Patch (an object)"
        )
    try:
        operations = jsonpatch.JsonPatch(given)
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError) as error:
        raise PatchError(f"the patch is no JSON Patch: {error}") from error
    first = given[0]
    return Patch(
        operations.apply, replaces_whole=first.get("op") in {"add", "replace"} and first.get("path") == ""
    )


def _without_mark(text: str | bytes) -> str | bytes:
    """Leave out the byte order mark that some editors put before a text."""
    return text.removeprefix("\ufeff") if isinstance(text, str) else text.removeprefix(BOM_UTF8)


def _is_unfilled(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_unfilled, value.values()))
    if isinstance(value, list):
        return any(map(_is_unfilled, value))
    return isinstance(value, str) and value == UNFILLED


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON Merge Patch: null removes, objects are merged, all else replaces (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def correct(payload: bytes, patch: Patch | None, *, event_id: str | None = None) -> bytes:
    """Give the payload with the patch applied and, if one is given, another `event_id`.

    Raises:
        UnfitError: the payload cannot be read, an operation does not fit it, or nothing would change.
    """
    document = _document(payload)
    if document is _UNREADABLE and not (patch and patch.replaces_whole):
        raise UnfitError(
            "the payload is no JSON, so only a JSON Patch that first replaces the whole of it fits: "
            '[{"op": "replace", "path": "", "value": {…}}]'
        )
    before = None if document is _UNREADABLE else document
    corrected = _apply(patch, before) if patch else before
    if not isinstance(corrected, dict):
        raise UnfitError("the payload is no JSON object" + (", also after the patch" if patch else ""))
    if event_id is not None:
        corrected = {**corrected, "event_id": event_id}
    if corrected == document:
        raise UnfitError("the patch changes nothing in it")
    return encode_exact(corrected)


def _document(payload: bytes) -> Any:
    try:
        return decode_exact(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _UNREADABLE


def _apply(patch: Patch, document: Any) -> Any:
    try:
        return patch.apply(document)
    except jsonpatch.JsonPatchTestFailed as error:
        raise UnfitError(f"a test of the patch does not hold: {error}") from error
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, RecursionError) as error:
        raise UnfitError(f"the patch does not fit: {error}") from error
