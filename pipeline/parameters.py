"""What command lines may say, as types that refuse all else."""

import math
import re
from datetime import date
from typing import Any, Final

import click

MOST_DAYS: Final = 36_500
"""A hundred years: dates that many days ago can be written, and nobody keeps anything for longer."""
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")


class SecondsType(click.ParamType):
    """A number of seconds, 0 or more."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not seconds >= 0:  # which a NaN is not either
            self.fail(f"{value!r} is no number of seconds, 0 or more", param, ctx)
        return seconds


class RateType(click.ParamType):
    """Events a second, above 0."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        try:
            rate = float(value)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            self.fail(f"{value!r} is no rate, a number above 0", param, ctx)
        return rate


class DayType(click.ParamType):
    """A day."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read it."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(_DAY.fullmatch(value)[0])  # type: ignore[index]  # caught below
        except (ValueError, TypeError):
            self.fail(f"{value!r} is no day like 2026-03-01 (YYYY-MM-DD)", param, ctx)


class IdType(click.ParamType):
    """An id of something, which events can carry."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        try:
            value.encode()
        except UnicodeEncodeError:  # bytes of the command line that are no UTF-8
            self.fail(f"{value!a} is no text, so no event has it", param, ctx)
        if not value.strip():
            self.fail("an id is empty", param, ctx)
        return str(value)
