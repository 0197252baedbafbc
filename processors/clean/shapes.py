"""The event types as a tree to walk a JSON value along: what is wanted where, and in which words."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec

from streams.dead_letters import Reason


@dataclass(frozen=True)
class Leaf:
    """A single value. `decode` reads its JSON exactly as the events' decoders do.

    `wanted` are words for its JSON type, `rule` for all that `decode` takes of that type. A text of any form
    is refused for its length only.
    """

    type: Any
    wanted: str
    rule: str
    is_of_any_form: bool
    nullable: bool
    decode: Callable[[bytes], Any]

    @property
    def reason(self) -> Reason:
        """Why a value of the right JSON type is refused."""
        return Reason.INVALID_TIMESTAMP if self.type is datetime else Reason.INVALID_VALUE


@dataclass(frozen=True)
class Many:
    """An array, of at least `smallest` items."""

    item: "Shape"
    smallest: int
    nullable: bool
    wanted: str = "an array"


@dataclass(frozen=True)
class Record:
    """An object: the shape of each known field, and which are required."""

    type: type[msgspec.Struct]
    fields: "dict[str, Shape]"
    required: frozenset[str]
    nullable: bool
    wanted: str = "an object"


Shape = Leaf | Many | Record

_WORDS: Final[dict[Any, str]] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Decimal: "a number or a decimal string",
    datetime: "a string",
    UUID: "a string",
}
_FORMS: Final[dict[Any, str]] = {
    datetime: "an instant of RFC 3339 with an offset such as 2026-05-04T09:58:12Z",
    UUID: "a UUID such as 6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a01",
}


def shape_of(wanted: Any) -> Shape:
    """Give the shape of a type of `streams.events`."""
    members = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    nullable = NoneType in members
    constrained = members[0]
    plain, *meta = get_args(constrained) if get_origin(constrained) is Annotated else (constrained,)
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        fields = msgspec.structs.fields(plain)
        return Record(
            type=plain,
            fields={field.encode_name: shape_of(field.type) for field in fields},
            required=frozenset(field.encode_name for field in fields if field.required),
            nullable=nullable,
        )
    if get_origin(plain) is list:
        smallest = max((m.min_length or 0 for m in meta), default=0)
        return Many(shape_of(get_args(plain)[0]), smallest, nullable)
    decoder = msgspec.json.Decoder(constrained)
    words = _WORDS.get(plain, "a string")
    return Leaf(
        type=plain,
        wanted=words,
        rule=_rule(plain, words, meta),
        is_of_any_form=all(each.pattern is None for each in meta),
        nullable=nullable,
        decode=decoder.decode,
    )


def _rule(plain: Any, words: str, meta: list[Any]) -> str:
    if get_origin(plain) is Literal:
        return f"one of {', '.join(get_args(plain))}"
    for each in meta:
        if each.description is not None:
            return str(each.description)
        if each.ge is not None:
            return f"{words} from {each.ge:.15g} to {each.le:.15g}"
        if each.max_length is not None:
            return f"{words} of {each.min_length or 0} to {each.max_length} characters"
    return "a number that can be stored" if plain in (int, Decimal) else _FORMS.get(plain, words)
