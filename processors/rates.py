"""Exchange rates by date: a table that people edit (`dbt/seeds/exchange_rates.csv`)."""

import csv
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

CENT = Decimal("0.01")
_CURRENCY = re.compile("[A-Z]{3}")


class Rate(NamedTuple):
    """Units of the base currency for one unit of `currency`, from `day` on."""

    day: date
    currency: str
    rate: Decimal


class RatesError(Exception):
    """The rate table cannot be used; the message says where it is wrong."""


class Rates:
    """Looks rates up. Before a currency's first dated rate the first one holds.

    Args:
        rates: in any order.
        base_currency: its own rate is 1, whatever the table says.
    """

    def __init__(self, rates: Iterable[Rate], base_currency: str) -> None:
        self._base = base_currency
        self._days: dict[str, list[date]] = {}
        self._rates: dict[str, list[Rate]] = {}
        for rate in sorted(rates):
            self._days.setdefault(rate.currency, []).append(rate.day)
            self._rates.setdefault(rate.currency, []).append(rate)

    def find(self, currency: str, day: date) -> Rate | None:
        """Give the rate that holds on a day, None for an unknown currency."""
        if currency == self._base:
            return Rate(day, currency, Decimal(1))
        days = self._days.get(currency)
        if days is None:
            return None
        return self._rates[currency][max(0, bisect_right(days, day) - 1)]


def to_base(amount: Decimal, rate: Rate) -> Decimal:
    """Convert an amount, rounded to cents once, half to even."""
    return (amount * rate.rate).quantize(CENT, ROUND_HALF_EVEN)


def read_rates(path: Path, base_currency: str) -> Rates:
    """Read a table with the columns rate_date, currency, rate.

    Raises:
        RatesError: the file is not there, a line of it cannot be read, or it is of another base currency.
    """
    rates: dict[tuple[date, str], Rate] = {}
    try:
        with path.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    rate = _read_row(row)
                except ValueError as error:
                    raise RatesError(f"{path}:{number}: {error}; wanted: rate_date,currency,rate") from None
                if rate.currency == base_currency and rate.rate != 1:
                    raise RatesError(
                        f"{path}:{number}: one {base_currency} is {rate.rate} here, so the table is not in "
                        f"{base_currency}, the base currency (PIPELINE_BASE_CURRENCY)"
                    )
                if rates.setdefault((rate.day, rate.currency), rate) is not rate:
                    raise RatesError(f"{path}:{number}: {rate.currency} comes twice on {rate.day}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RatesError(f"exchange rates cannot be read: {error}") from error
    return Rates(rates.values(), base_currency)


def _read_row(row: Mapping[str, str | None]) -> Rate:
    day, currency, rate = (row.get(name) for name in ("rate_date", "currency", "rate"))
    if not (day and currency and rate):
        raise ValueError("a column is missing")
    if not _CURRENCY.fullmatch(currency):
        raise ValueError(f"{currency!r} is no currency of ISO 4217")
    try:
        value = Decimal(rate)
    except InvalidOperation:
        raise ValueError(f"{rate!r} is no number") from None
    if not (value.is_finite() and value > 0):
        raise ValueError(f"the rate must be above 0, it is {rate}")
    return Rate(date.fromisoformat(day), currency, value)
