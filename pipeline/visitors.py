"""Whose a record is, read from its bytes."""

import msgspec


class _Ids(msgspec.Struct):
    customer_id: object = None
    anonymous_id: object = None


_decode_ids = msgspec.json.Decoder(_Ids).decode


def visitor_of(value: bytes) -> str | None:
    """Give the visitor of a record as it came: the customer, else the anonymous visitor.

    Never raises: None if the record has neither or cannot be read.
    """
    try:
        ids = _decode_ids(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    visitor = ids.customer_id or ids.anonymous_id
    return visitor if isinstance(visitor, str) else None
