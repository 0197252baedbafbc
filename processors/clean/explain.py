"""All that is wrong with a record that a stream's decoder has refused, and what of it can be read."""

import re
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from processors.clean.json_text import Fields, Number, paths_of_repeated, paths_of_surrogates, read_json
from processors.clean.shapes import Leaf, Many, Record, Shape, shape_of
from processors.outcomes import MAX_ERRORS, Problem, problem
from streams.dead_letters import Reason
from streams.events import EVENT_CLASSES, EVENT_TYPES, STREAM_OF_TYPE, Event, Stream, event_type_of

CLASS_OF_TYPE: Final[dict[str, type[Event]]] = {
    event_type_of(event_class): event_class for classes in EVENT_CLASSES.values() for event_class in classes
}
SHOWN_CHARACTERS: Final = 60
DECIMAL_STRING: Final = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_DECIMAL: Final = re.compile(DECIMAL_STRING)


class Explained(NamedTuple):
    """What a record holds and what is wrong with it.

    Of `event` each field that cannot be read is UNSET; it is None if nothing can. An unknown `event_type`
    gives an `Event`, with what all events have.
    """

    event: Event | None
    problems: list[Problem]


@cache
def _record_of(event_class: type[Event]) -> Record:
    shape = shape_of(event_class)
    assert isinstance(shape, Record)  # noqa: S101  (an event is an object; for the type checker)
    return shape


class _EnoughError(Exception):
    """So much is wrong that the rest is not listed."""


def explain(stream: Stream, value: bytes) -> Explained:
    """Look at a record of at most `json_text.MAX_DEPTH` levels again, slowly."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        hint = ": this is UTF-16, send UTF-8" if value[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        return _nothing(Reason.NOT_UTF8, f"byte {error.start} is not UTF-8{hint}")
    try:
        found = read_json(text)
    except ValueError as error:
        return _nothing(Reason.NOT_JSON, str(error))
    if not isinstance(found, Fields):
        return _nothing(Reason.NOT_AN_OBJECT, f"an object is wanted, this is {_given(found)}")
    walk = _Walk()
    event = None
    try:
        event_class = walk.event_class(stream, found)
        event = walk.record(found, _record_of(event_class), "$")
        if "\\u" in text:
            walk.surrogates(found)
    except _EnoughError:
        event = None  # what was not looked at is not to be judged
    return Explained(event, walk.problems)


def repeated_names(value: bytes) -> list[Problem]:
    """Say which names a record has more than once: the decoder looks at all of them, not at the last only."""
    message = "is given more than once, and not each of them is right"
    paths = islice(paths_of_repeated(read_json(value.decode())), MAX_ERRORS)
    return [problem(Reason.INVALID_VALUE, path, message) for path in paths]


class _Walk:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, reason: Reason, path: str, message: str) -> None:
        if len(self.problems) == MAX_ERRORS:
            raise _EnoughError
        self.problems.append(problem(reason, path, message))

    def event_class(self, stream: Stream, found: Fields) -> type[Event]:
        path = "$.event_type"
        event_type: Any = found.get("event_type")
        if "event_type" not in found:
            self.add(Reason.MISSING_FIELD, path, "required")
        elif not _is_text(event_type):
            self.add(Reason.WRONG_TYPE, path, f"a string is wanted, this is {_given(event_type)}")
        elif event_type not in EVENT_TYPES[stream]:
            other = STREAM_OF_TYPE.get(event_type)
            hint = f"; it belongs to {other}" if other else ""
            self.add(Reason.UNKNOWN_EVENT_TYPE, path, f"{_shown(event_type)} is no type of {stream}{hint}")
        else:
            return CLASS_OF_TYPE[event_type]
        return Event

    def surrogates(self, found: Fields) -> None:
        """Note lone surrogates wherever they stand: no text can hold them, not even bronze."""
        for path in paths_of_surrogates(found):
            self.add(Reason.INVALID_VALUE, path, "holds half a surrogate pair (\\ud800 to \\udfff alone)")

    def value(self, found: Any, shape: Shape, path: str) -> Any:
        if found is None and shape.nullable:
            return None
        if isinstance(shape, Record):
            if isinstance(found, dict):
                return self.record(found, shape, path)
        elif isinstance(shape, Many):
            if isinstance(found, list):
                return self.many(found, shape, path)
        elif _fits(found, shape.type):
            return self.leaf(found, shape, path)
        self.add(Reason.WRONG_TYPE, path, f"{shape.wanted} is wanted, this is {_given(found)}")
        return UNSET

    def record(self, found: dict[str, Any], shape: Record, path: str) -> Any:
        fields = {}
        for name, inner in shape.fields.items():
            if name in found:
                fields[name] = self.value(found[name], inner, f"{path}.{name}")
            elif name in shape.required:
                self.add(Reason.MISSING_FIELD, f"{path}.{name}", "required")
                fields[name] = UNSET
        return shape.type(**fields)

    def many(self, found: list[Any], shape: Many, path: str) -> Any:
        if len(found) < shape.smallest:
            self.add(Reason.INVALID_VALUE, path, f"at least {shape.smallest} wanted, there are {len(found)}")
            return UNSET
        return [self.value(one, shape.item, f"{path}[{i}]") for i, one in enumerate(found)]

    def leaf(self, found: Any, shape: Leaf, path: str) -> Any:
        misspelled = _misspelled(found, shape)
        if misspelled:
            self.add(shape.reason, path, misspelled)
            return UNSET
        try:
            return shape.decode(_to_json(found))
        except UnicodeEncodeError:
            return UNSET  # a lone surrogate, which `surrogates` reports
        except msgspec.DecodeError:  # of one value: it is out of range, or against a constraint
            self.add(shape.reason, path, _against_rule(found, shape))
            return UNSET


def _misspelled(found: Any, shape: Leaf) -> str | None:
    """Say what the decoder would let pass, and no table or other language would."""
    if not _is_text(found):
        return None
    if "\0" in found:
        return "holds a NUL character"
    if shape.type is Decimal and not _DECIMAL.fullmatch(found):
        return f"{_shown(found)} is no decimal number such as 19.90"
    return None


def _against_rule(found: Any, shape: Leaf) -> str:
    if isinstance(found, Number) or shape.type is not str:
        hint = "; there is no place for leap seconds" if shape.type is datetime and ":60" in found else ""
        return f"{shape.rule} is wanted, this is {_shown(found)}{hint}"
    # Texts are not repeated: they may be personal, and messages go where payloads do not.
    length = f", this has {len(found)} character{'s' * (len(found) != 1)}" if shape.is_of_any_form else ""
    return f"{shape.rule} is wanted{length}"


def _fits(found: Any, wanted: Any) -> bool:
    """Tell whether a value has the JSON type that a leaf wants."""
    if isinstance(found, Number):
        whole = found.removeprefix("-").isdigit()
        return wanted in (float, Decimal) or (wanted is int and whole)
    if isinstance(found, str):
        return wanted not in (int, float, bool)
    return isinstance(found, bool) and wanted is bool


def _to_json(found: Any) -> bytes:
    return found.encode() if isinstance(found, Number) else msgspec.json.encode(found)


def _is_text(found: Any) -> bool:
    return isinstance(found, str) and not isinstance(found, Number)


def _shown(found: str) -> str:
    cut = found if len(found) <= SHOWN_CHARACTERS else f"{found[:SHOWN_CHARACTERS]}…"
    return cut if isinstance(found, Number) else ascii(cut)


def _given(found: Any) -> str:
    if found is None:
        return "null"
    if isinstance(found, Number):
        return _shown(found)
    return {bool: "a boolean", str: "a string", list: "an array"}.get(type(found), "an object")


def _nothing(reason: Reason, message: str) -> Explained:
    return Explained(None, [problem(reason, "$", message)])
