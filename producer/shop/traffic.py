"""How busy the shop is: by hour, weekday, season and with its growth."""

import random
from datetime import UTC, datetime
from typing import Final

from producer.shop.draws import DAY, HOUR, Weighted

HOURLY: Final = (
    3.0, 2.0, 1.3, 1.0, 1.0, 1.4, 2.4, 4.0, 5.6, 6.6, 7.0, 7.2,
    7.6, 7.2, 6.8, 6.8, 7.0, 7.6, 8.6, 9.8, 10.4, 9.6, 7.4, 5.0,
)  # fmt: skip
"""Visits by local hour: a plateau over the day, the top in the evening."""

_HOURS: Final = Weighted(list(enumerate(HOURLY)))
_TOP: Final = max(HOURLY)
_WEEKDAYS: Final = (0.97, 0.95, 0.96, 1.0, 1.02, 1.06, 1.14)
_ALL_HOURS: Final = sum(HOURLY) / 24

# Where the visitors are, as the hours ahead of UTC and the share.
_ZONES: Final = ((-6, 0.42), (0, 0.14), (1, 0.35), (9, 0.09))

GROWTH: Final = 0.35
"""How much busier the shop is at the end of a year than at its start."""


def load_at(at: float, start: float) -> float:
    """Give how busy the shop is at an instant, 1 on average, in a history that began at `start`."""
    when = datetime.fromtimestamp(at, UTC)
    hour = sum(share * HOURLY[(when.hour + offset) % 24] for offset, share in _ZONES) / _ALL_HOURS
    season = (
        1.9 if when.month == 11 and when.day >= 24 else 1.25 if when.month == 12 and when.day <= 21 else 1.0
    )
    return hour * _WEEKDAYS[when.weekday()] * season * (1 + GROWTH * (at - start) / (365 * DAY))


def is_open_hour(rng: random.Random, at: float, utc_offset: int) -> bool:
    """Whether someone in that zone is about at this hour, by chance."""
    return rng.random() * _TOP < HOURLY[int(at // HOUR + utc_offset) % 24]


def in_the_day(rng: random.Random, at: float, utc_offset: int) -> float:
    """Move an instant within its local day to an hour people shop at."""
    local_midnight = (at + utc_offset * HOUR) // DAY * DAY
    return local_midnight + (_HOURS.draw(rng) + rng.random()) * HOUR - utc_offset * HOUR
