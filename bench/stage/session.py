"""The workload's values: an event, a customer's session, and the one rule that makes the one of the other.

Used by every system written in Python, so that all do the same; `java/SessionStage.java` says it again.
"""

import struct
from typing import Final

import msgspec

GAP_MS: Final = 30 * 60 * 1000
_STATE: Final = struct.Struct("<qqqq")


class Event(msgspec.Struct, gc=False):
    """What the stage reads of an event; its other fields are skipped by the decoder."""

    occurred_at_ms: int
    amount_cents: int


class Session(msgspec.Struct, gc=False):
    """A customer's session so far; what is sent for each event. Times in milliseconds since 1970."""

    customer_id: str
    started_at_ms: int
    ended_at_ms: int
    events: int
    amount_cents: int


decode_event = msgspec.json.Decoder(Event).decode
decode_events = msgspec.json.Decoder(list[Event]).decode
encode_session = msgspec.json.Encoder().encode


def add_event(session: Session | None, customer_id: str, at_ms: int, amount_cents: int) -> Session:
    """Give the session with an event in it: a new one after a gap, else the same object, changed."""
    if session is None or at_ms - session.ended_at_ms > GAP_MS:
        return Session(customer_id, at_ms, at_ms, 1, amount_cents)
    if at_ms > session.ended_at_ms:
        session.ended_at_ms = at_ms
    elif at_ms < session.started_at_ms:
        session.started_at_ms = at_ms
    session.events += 1
    session.amount_cents += amount_cents
    return session


def pack_state(session: Session) -> bytes:
    """Give a session as it is kept, 32 bytes; its customer is the key."""
    return _STATE.pack(session.started_at_ms, session.ended_at_ms, session.events, session.amount_cents)


def unpack_state(packed: bytes, customer_id: str) -> Session:
    """Read what `pack_state` gave."""
    return Session(customer_id, *_STATE.unpack(packed))
