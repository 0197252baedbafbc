"""Whose a record is, read from its bytes."""

from typing import NamedTuple

import msgspec


class _Ids(msgspec.Struct):
    customer_id: object = None
    anonymous_id: object = None


_decode_ids = msgspec.json.Decoder(_Ids).decode


class Visitor(NamedTuple):
    """Whose a record is; `is_customer` tells how the id is to be read."""

    visitor_id: str
    is_customer: bool


def visitor_of(value: bytes) -> str | None:
    """Give the visitor of a record as it came: the customer, else the anonymous visitor.

    Never raises: None if the record has neither or cannot be read.
    """
    visitor = who_of(value)
    return visitor.visitor_id if visitor is not None else None


def who_of(value: bytes) -> Visitor | None:
    """Give the visitor as `visitor_of` does, and what kind of id it is."""
    try:
        ids = _decode_ids(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    visitor = ids.customer_id or ids.anonymous_id
    return Visitor(visitor, bool(ids.customer_id)) if isinstance(visitor, str) else None
