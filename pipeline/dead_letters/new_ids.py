"""Event ids for records that need one of their own. Pure."""

from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from pipeline.dead_letters.letters import canonical_id
from pipeline.dead_letters.patching import Patch, correct
from processors.clean.decode import decode_event
from processors.clean.explain import Explained
from processors.clean.facts import content_hash
from processors.clean.read import in_one_spelling
from streams.events import Stream

NEW_EVENT_IDS: Final = UUID("7d0f6a57-5b0e-4f0e-9a43-2d4f5a2b8c11")
"""Namespace of event ids that are made here. It also stands for the id itself in what they are made of."""


class _Came(msgspec.Struct):
    event_id: Any = None


_decode_came = msgspec.json.Decoder(_Came).decode


def new_event_id(stream: Stream, came: bytes, patch: Patch | None = None) -> str:
    """Give the event id that a record gets, corrected if there is a patch, in place of the one it has.

    It follows from the id that the record came with and from what it says after the correction, so it is
    always the same one; and two records that say the same, in whatever spelling, get the same: they are one
    event that was sent twice. What the cleaning rules cannot decode is told apart by its bytes.

    Raises:
        UnfitError: it cannot be read, or the patch does not fit it.
    """
    # Equal contents must be equal whatever their ids were: all are looked at under one id.
    content = _content(stream, correct(came, patch, event_id=str(NEW_EVENT_IDS)))
    return str(uuid5(NEW_EVENT_IDS, f"{_id_it_came_with(came)}/{content}"))


def _content(stream: Stream, payload: bytes) -> str:
    event = decode_event(stream, payload)
    if isinstance(event, Explained):
        return payload.decode()
    try:
        return str(content_hash(in_one_spelling(event)))
    except ArithmeticError:  # amounts and instants that only the rules refuse
        return payload.decode()


def _id_it_came_with(came: bytes) -> str:
    try:
        event_id = _decode_came(came).event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return canonical_id(event_id) or msgspec.json.encode(event_id).decode()
