"""Countries of the shop's visitors, their money and hours; dated exchange rates."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from producer.shop.draws import Weighted, seeded

CENT: Final = Decimal("0.01")


@dataclass(frozen=True)
class Country:
    """A country with its currency and hours ahead of UTC."""

    code: str
    currency: str
    utc_offset: int


COUNTRIES: Final = Weighted(
    [
        (Country("US", "USD", -6), 34),
        (Country("GB", "GBP", 0), 14),
        (Country("DE", "EUR", 1), 13),
        (Country("FR", "EUR", 1), 9),
        (Country("NL", "EUR", 1), 4),
        (Country("CA", "CAD", -5), 6),
        (Country("AU", "AUD", 10), 5),
        (Country("SE", "SEK", 1), 3),
        (Country("PL", "PLN", 1), 3),
        (Country("CH", "CHF", 1), 3),
        (Country("JP", "JPY", 9), 3),
        (Country("IN", "INR", 5), 3),
        (Country("BR", "BRL", -3), 2),
    ]
)

USD_PER_UNIT: Final = {
    "USD": 1.0,
    "EUR": 1.09,
    "GBP": 1.27,
    "CAD": 0.735,
    "AUD": 0.66,
    "CHF": 1.13,
    "SEK": 0.095,
    "NOK": 0.094,
    "PLN": 0.25,
    "JPY": 0.0067,
    "INR": 0.0119,
    "BRL": 0.185,
}
"""Middle of each currency's drift, in US dollars per unit."""

FIRST_RATE_MONTH: Final = date(2023, 1, 1)
RATE_MONTHS: Final = 48


def smallest_unit(currency: str) -> Decimal:
    """Give what prices are rounded to: the cent, for yen and rupees the whole."""
    return Decimal(1) if currency in {"JPY", "INR"} else CENT


def in_currency(usd: Decimal, currency: str) -> Decimal:
    """Give a price in a currency, in whole smallest units."""
    if currency == "USD":
        return usd
    step = smallest_unit(currency)
    return max((usd / Decimal(str(USD_PER_UNIT[currency]))).quantize(step), step)


def exchange_rates() -> Iterator[tuple[date, str, Decimal]]:
    """Give invented exchange rates: day, currency, US dollars per unit, on the first of each month."""
    for currency, middle in USD_PER_UNIT.items():
        rng = seeded("rates", currency)
        phase, length, swing = rng.uniform(0, math.tau), rng.uniform(16, 30), rng.uniform(0.02, 0.06)
        wander = 0.0
        for month in range(RATE_MONTHS):
            wander = 0.85 * wander + rng.gauss(0, 0.006)
            factor = math.exp(swing * math.sin(phase + math.tau * month / length) + wander)
            rate = Decimal(1) if currency == "USD" else Decimal(f"{middle * factor:.6f}")
            day = FIRST_RATE_MONTH.replace(year=FIRST_RATE_MONTH.year + month // 12, month=month % 12 + 1)
            yield day, currency, rate
