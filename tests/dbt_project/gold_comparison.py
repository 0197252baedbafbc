"""Rows of gold as they must be, and how they are compared with those that are there."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from gold_world import Row

Key = tuple[Any, ...]
SMALLEST_RATIO: Final = Fraction(1, 10**12)
SMALLEST_SCORE: Final = 1e-8
LEFT_OUT: Final = {"dbt_updated_at", "ltv_predicted_12m", "churn_risk", "risk_band"}
"""When silver was copied, and what is fitted: the fit has tests of its own."""


@dataclass(frozen=True)
class Expected:
    """A table's rows by their key. Money is a Decimal, a ratio a Fraction, a score a float."""

    key: tuple[str, ...]
    rows: dict[Key, Row]


def differences(expected: Expected, found: list[Row]) -> list[str]:
    """Say what is missing, what is too much, and which column of which row differs."""
    by_key = {tuple(row[name] for name in expected.key): row for row in found}
    said = [f"{len(found) - len(by_key)} rows with the key of another"] if len(by_key) < len(found) else []
    said += [f"{key} is missing" for key in expected.rows.keys() - by_key.keys()]
    said += [f"{key} is too much" for key in by_key.keys() - expected.rows.keys()]
    for key in expected.rows.keys() & by_key.keys():
        ours, theirs = expected.rows[key], by_key[key]
        said += [f"{key} has no {name}" for name in ours.keys() - theirs.keys()]
        said += [f"{key} has {name}" for name in theirs.keys() - ours.keys() - {*expected.key, *LEFT_OUT}]
        said += [
            f"{key}: {name} is {theirs[name]!r}, not {ours[name]!r}"
            for name in ours.keys() & theirs.keys()
            if not _same(ours[name], theirs[name])
        ]
    return sorted(said)


def _same(expected: Any, found: Any) -> bool:
    if expected is None or found is None:
        return expected is found
    if isinstance(expected, Fraction):
        # The database divides to sixteen digits or more.
        return abs(expected - Fraction(found)) < SMALLEST_RATIO
    if isinstance(expected, float):
        return abs(expected - float(found)) < SMALLEST_SCORE
    return type(expected) is type(found) and bool(expected == found)
