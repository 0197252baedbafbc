"""Bytes to a typed event, or every reason why not."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

import msgspec

from processors.outcomes import Refusal
from streams.dead_letters import FieldError, Reason
from streams.events import (
    DECODERS,
    EVENT_CLASSES,
    EVENT_TYPES,
    MAX_EVENT_BYTES,
    Event,
    Stream,
    event_type_of,
)

CLASS_OF_TYPE: dict[str, type[Event]] = {
    event_type_of(event_class): event_class for classes in EVENT_CLASSES.values() for event_class in classes
}
_WANTED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Decimal: "a number or a decimal string",
}
NUL_ESCAPE = b"\\u0000"
"""How JSON spells NUL; a raw one is no JSON."""

Problem = tuple[Reason, FieldError]
_JSON_TYPES: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    bool: (bool,),
    Decimal: (str, int, float),
    str: (str,),
    datetime: (str,),
    UUID: (str,),
}


def decode_event(stream: Stream, value: bytes) -> Event | Refusal:
    """Decode a record of a stream; what is wrong with it is found by a second, slower look."""
    if len(value) > MAX_EVENT_BYTES:
        return _refuse(Reason.TOO_LARGE, "$", f"{len(value)} bytes, at most {MAX_EVENT_BYTES} are taken")
    try:
        event: Event = DECODERS[stream].decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return explain_refusal(stream, value)
    if NUL_ESCAPE in value:
        paths = list(_nul_paths(msgspec.to_builtins(event), "$"))
        if paths:
            return Refusal(
                Reason.INVALID_VALUE, [FieldError(path, "holds a NUL character") for path in paths]
            )
    return event


def _nul_paths(value: Any, path: str) -> Iterator[str]:
    """Find texts with a NUL character, which Postgres cannot store; in unknown fields they do not matter."""
    if isinstance(value, str):
        if "\0" in value:
            yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _nul_paths(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _nul_paths(inner, f"{path}[{i}]")


def explain_refusal(stream: Stream, value: bytes) -> Refusal:
    """Say everything that is wrong with a record that the stream's decoder has refused."""
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        return _refuse(Reason.NOT_UTF8, "$", f"byte {error.start} is not UTF-8")
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        return _refuse(Reason.NOT_JSON, "$", str(error) or type(error).__name__)
    if not isinstance(found, dict):
        return _refuse(Reason.NOT_AN_OBJECT, "$", f"an object is wanted, this is {_json_type(found)}")
    return _explain_object(stream, found)


def _explain_object(stream: Stream, found: dict[str, Any]) -> Refusal:
    if "event_type" not in found:
        return _refuse(Reason.MISSING_FIELD, "$.event_type", "required")
    event_type = found["event_type"]
    if not isinstance(event_type, str):
        return _refuse(
            Reason.WRONG_TYPE, "$.event_type", f"a string is wanted, this is {_json_type(event_type)}"
        )
    if event_type not in EVENT_TYPES[stream]:
        return _refuse(Reason.UNKNOWN_EVENT_TYPE, "$.event_type", f"{event_type!r} is no type of {stream}")
    return _explain_fields(CLASS_OF_TYPE[event_type], found)


def _explain_fields(event_class: type[Event], found: dict[str, Any]) -> Refusal:
    problems = list(_problems(found, event_class, "$"))
    if not problems:  # the decoder and this look disagree: keep the record rather than guess
        return _refuse(Reason.PROCESSING_ERROR, "$", "the record was refused, but each field of it is right")
    return Refusal(problems[0][0], [error for _reason, error in problems])


def _problems(value: Any, wanted: Any, path: str) -> Iterator[Problem]:
    """Find everything in a JSON value that does not fit a type of `streams.events`."""
    members = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    if value is None and NoneType in members:
        return
    constrained = members[0]
    plain = get_args(constrained)[0] if get_origin(constrained) is Annotated else constrained
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        yield from _struct_problems(value, plain, path)
    elif get_origin(plain) is list:
        yield from _list_problems(value, constrained, get_args(plain)[0], path)
    elif type(value) not in _JSON_TYPES.get(plain, (str,)):
        wanted_type = _WANTED.get(plain, "a string")
        yield Reason.WRONG_TYPE, FieldError(path, f"{wanted_type} is wanted, this is {_json_type(value)}")
    else:
        reason = Reason.INVALID_TIMESTAMP if plain is datetime else Reason.INVALID_VALUE
        yield from _refused_value(value, constrained, reason, path)


def _struct_problems(value: Any, wanted: type[msgspec.Struct], path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Reason.WRONG_TYPE, FieldError(path, f"an object is wanted, this is {_json_type(value)}")
        return
    for field in msgspec.structs.fields(wanted):
        inner = f"{path}.{field.encode_name}"
        if field.encode_name in value:
            yield from _problems(value[field.encode_name], field.type, inner)
        elif field.required:
            yield Reason.MISSING_FIELD, FieldError(inner, "required")


def _list_problems(value: Any, constrained: Any, item: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Reason.WRONG_TYPE, FieldError(path, f"an array is wanted, this is {_json_type(value)}")
        return
    inner = [problem for i, one in enumerate(value) for problem in _problems(one, item, f"{path}[{i}]")]
    yield from inner or _refused_value(value, constrained, Reason.INVALID_VALUE, path)


def _refused_value(value: Any, constrained: Any, reason: Reason, path: str) -> Iterator[Problem]:
    try:
        msgspec.convert(value, constrained)
    except msgspec.ValidationError as error:
        yield reason, FieldError(path, str(error))


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}.get(
        type(value), "an object"
    )


def _refuse(reason: Reason, path: str, message: str) -> Refusal:
    return Refusal(reason, [FieldError(path, message)])
