"""The table of settings in docs/configuration.md, from the settings themselves.

Run it to write the table anew: `.venv/bin/python tests/settings_table.py`.
"""

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from pipeline.settings import REPOSITORY, Settings

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
BEGIN, END = "<!-- settings -->", "<!-- end of settings -->"
WORDS = {int: "integer", float: "number", str: "text", SecretStr: "text, secret", Path: "path"}


def kind_of(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return kind_of(next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return "list, by commas"
    return WORDS[annotation]


def limits_of(metadata: list[Any]) -> str:
    low = next((m.ge for m in metadata if getattr(m, "ge", None) is not None), None)
    high = next((m.le for m in metadata if getattr(m, "le", None) is not None), None)
    if low is None:
        return ""
    return f", {low:g} or more" if high is None else f", {low:g} to {high:g}"


def shown_default(value: Any) -> str:
    if value in (None, (), PydanticUndefined):
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path) and value.is_absolute():
        value = f"{value.relative_to(REPOSITORY)} of the source tree"
    return f"`{value}`"


def table() -> str:
    rows = ["| variable | kind | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        kind = kind_of(field.annotation) + limits_of(field.metadata)
        cells = (
            f"`PIPELINE_{name.upper()}`",
            kind,
            shown_default(field.default),
            field.description or "",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def with_table(text: str) -> str:
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
