"""JSON Schema of each stream (draft 2020-12), from `streams.events`, for producers in other languages.

`python -m streams.json_schema FOLDER` writes `<stream>.schema.json` files. What a schema refuses cleaning
refuses. Cleaning refuses more, which no schema can say: dates in the future, currencies without a rate.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.events import EVENT_CLASSES, STREAMS, InteractionEvent, Stream, union_of

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_OF_FORMAT: Final[Mapping[str, Mapping[str, Any]]] = {
    # A format alone is only a remark to most validators.
    "uuid": {"pattern": "^([0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"},
    "date-time": {
        "pattern": "^[0-9]{4}(-[0-9]{2}){2}[Tt ]"
        "[0-9]{2}(:[0-9]{2}){2}([.][0-9]+)?([Zz]|[+-][0-9]{2}:?[0-9]{2})$",
        "description": "RFC 3339, with an offset",
    },
    "decimal": {
        "type": ["number", "string"],
        "pattern": r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$",
        "description": "a number or a decimal string, with at most 4 decimals",
    },
}
_SOMEBODY: Final = [
    {"required": [name], "properties": {name: {"type": "string"}}} for name in ("customer_id", "anonymous_id")
]


def schema_of(stream: Stream) -> dict[str, Any]:
    """Give the schema of a stream's events."""
    generated: dict[str, Any] = _patched(msgspec.json.schema(union_of(stream)))
    for event_class in EVENT_CLASSES[stream]:
        if issubclass(event_class, InteractionEvent):
            generated["$defs"][event_class.__name__]["anyOf"] = _SOMEBODY
    # An extension of OpenAPI: the types exclude each other by their `event_type` anyway.
    generated.pop("discriminator", None)
    return {"$schema": DRAFT, "title": f"{stream} events", **generated}


def _patched(schema: Any) -> Any:
    """Say of formats what validators check, and of decimals that they may be numbers."""
    if isinstance(schema, list):
        return [_patched(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    patched = {name: _patched(value) for name, value in schema.items()}
    found = schema.get("format")
    if isinstance(found, str):
        patched |= _OF_FORMAT[found]
        if found == "decimal":
            del patched["format"]
    return patched


def schema_files() -> dict[str, str]:
    """Give the text of each file by its name."""
    return {
        f"{stream}.schema.json": json.dumps(schema_of(stream), indent=2, ensure_ascii=False) + "\n"
        for stream in STREAMS
    }


if __name__ == "__main__":
    for name, text in schema_files().items():
        Path(sys.argv[1], name).write_text(text)
