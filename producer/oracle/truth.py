"""What the oracle must be told, and the questions that have an answer outside the events: money and marks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from producer.shop.agents import AGENTS
from producer.shop.marketing import meant_channel
from streams.events import Context

URL_CHARACTERS: Final = 2048
CAMPAIGN_CHARACTERS: Final = 256


class OracleError(Exception):
    """The ledger is not one of the shop's, or its money is not in the rates; the message says which."""


@dataclass(frozen=True)
class OracleConfig:
    """What decides the tables beside the events.

    Args:
        gap: a longer step between two events of a visitor cuts a session.
        email_secret: key of the e-mail hash.
        rates: rows of the exchange rates: day from which on, currency, units of the base currency for one.
        base_currency: what amounts are converted to.
    """

    gap: timedelta
    email_secret: bytes = field(repr=False)
    rates: tuple[tuple[date, str, Decimal], ...] = field(repr=False)
    base_currency: str = "USD"


class Rate(NamedTuple):
    """A rate and the day of the table it is from."""

    day: date
    rate: Decimal


class Money:
    """Converts amounts: by the newest rate that is not after the day, before the first rate by that one."""

    def __init__(self, rates: Iterable[tuple[date, str, Decimal]], base_currency: str) -> None:
        self._base = base_currency
        by_currency: dict[str, dict[date, Decimal]] = {}
        for day, currency, rate in rates:
            by_currency.setdefault(currency, {})[day] = rate
        self._rates: Mapping[str, Mapping[date, Decimal]] = by_currency
        self.rate = lru_cache(maxsize=10_000)(self._rate)

    def _rate(self, currency: str, day: date) -> Rate:
        """Give the rate of a day; raises OracleError for a currency without one."""
        if currency == self._base:
            return Rate(day, Decimal(1))
        known = self._rates.get(currency)
        if not known:
            raise OracleError(f"there is no exchange rate for {currency}")
        valid_from = max((d for d in known if d <= day), default=min(known))
        return Rate(valid_from, known[valid_from])


class Seen(NamedTuple):
    """What an event says of where its visitor was; all empty without a context."""

    page_url: str | None = None
    referrer: str | None = None
    channel: str | None = None
    campaign: str | None = None
    country: str | None = None
    device: str | None = None
    browser: str | None = None
    is_bot: bool = False


def what_was_seen(context: Context | None) -> Seen:
    """Read a context with the shop's own knowledge of its campaigns and of its visitors' browsers.

    Raises:
        OracleError: the shop makes no such visits.
    """
    if context is None:
        return Seen()
    channel = meant_channel(context)
    if channel is None:
        raise OracleError(
            f"the shop has no campaign and no referrer like {context.utm_source}, {context.utm_medium}, "
            f"{context.referrer}: is the ledger one of `pipeline produce`, of this version?"
        )
    device = browser = None
    is_bot = False
    if context.user_agent is not None:
        agent = AGENTS.get(context.user_agent)
        if agent is None:
            raise OracleError(f"the shop is not visited with the user agent {context.user_agent!r}")
        device, browser, is_bot = agent.device, agent.browser, agent.is_bot
    return Seen(
        page_url=context.page_url and context.page_url[:URL_CHARACTERS],
        referrer=context.referrer and context.referrer[:URL_CHARACTERS],
        channel=channel,
        campaign=context.utm_campaign and context.utm_campaign[:CAMPAIGN_CHARACTERS],
        country=context.country and context.country.upper(),
        device=device,
        browser=browser,
        is_bot=is_bot,
    )
