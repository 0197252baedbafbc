"""Where visits come from: channels and campaigns, their marks on a visit, and what they cost."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from producer.shop.draws import Weighted, seeded
from streams.events import Context

SHOP: Final = "https://shop.example.com"
SPEND_FIRST: Final = date(2025, 9, 1)
SPEND_LAST: Final = date(2026, 12, 31)


@dataclass(frozen=True)
class Source:
    """A way into the shop; `daily_spend` in US dollars."""

    channel: str
    campaign: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    referrers: tuple[str, ...] = ()
    daily_spend: float = 0.0


def _paid(channel: str, campaign: str, source: str, medium: str, daily_spend: float) -> Source:
    referrers = {
        "paid_search": (f"https://www.{source}.com/",),
        "paid_social": (f"https://www.{source}.com/",),
        "affiliate": ("https://deals.example.net/", "https://reviews.example.org/best-of"),
    }.get(channel, ())
    return Source(channel, campaign, source, medium, referrers, daily_spend)


SOURCES: Final = Weighted(
    [
        (Source("direct"), 20),
        (
            Source(
                "organic_search",
                referrers=("https://www.google.com/", "https://www.bing.com/", "https://duckduckgo.com/"),
            ),
            24,
        ),
        (
            Source(
                "organic_social",
                referrers=(
                    "https://www.instagram.com/",
                    "https://www.reddit.com/",
                    "https://www.tiktok.com/",
                ),
            ),
            7,
        ),
        (Source("referral", referrers=("https://blog.example.org/", "https://news.example.net/")), 5),
        (_paid("paid_search", "brand-search", "google", "cpc", 4.2), 9),
        (_paid("paid_search", "generic-search", "google", "cpc", 7.5), 8),
        (_paid("paid_search", "bing-shopping", "bing", "cpc", 2.1), 3),
        (_paid("paid_social", "lookalike-video", "facebook", "paid_social", 6.4), 7),
        (_paid("paid_social", "new-in-stories", "instagram", "paid_social", 4.8), 6),
        (_paid("display", "retargeting", "adnet", "display", 3.0), 4),
        (_paid("affiliate", "partner-deals", "partners", "affiliate", 2.6), 3),
        (Source("email", "weekly-newsletter", "newsletter", "email"), 4),
    ]
)
KNOWN_SOURCES: Final = Weighted(
    [
        (source, weight)
        for source, weight in zip(SOURCES.values, (34, 16, 3, 2, 9, 2, 1, 1, 2, 7, 2, 21), strict=True)
    ]
)
"""The same for customers: they come by themselves, by e-mail and by retargeting."""


def draw_source(rng: random.Random, *, known: bool) -> Source:
    """Draw how a visit of a customer, or of a stranger, came about."""
    return (KNOWN_SOURCES if known else SOURCES).draw(rng)


def _meanings() -> dict[tuple[str | None, str | None, str | None], str]:
    """Give the channel by (utm_source, utm_medium, referrer); of a marked visit the referrer says nothing."""
    found: dict[tuple[str | None, str | None, str | None], str] = {(None, None, None): "direct"}
    for source in SOURCES.values:
        if source.utm_medium is not None:
            found[source.utm_source, source.utm_medium, None] = source.channel
        else:
            found |= {(None, None, referrer): source.channel for referrer in source.referrers}
    return found


_MEANINGS: Final = _meanings()


def meant_channel(context: Context) -> str | None:
    """Give the channel that a page was reached by, as the shop meant it; None: the shop makes no such visit.

    Only a visit's first page carries its source's marks; the next ones come from the shop itself.
    """
    if context.utm_source is not None or context.utm_medium is not None:
        return _MEANINGS.get((context.utm_source, context.utm_medium, None))
    referrer = context.referrer
    if referrer is not None and (referrer == SHOP or referrer.startswith(f"{SHOP}/")):
        return "direct"
    return _MEANINGS.get((None, None, referrer))


def marketing_spend() -> Iterator[tuple[date, str, str, Decimal]]:
    """Give what the paid campaigns cost: day, channel, campaign, US dollars."""
    for source in SOURCES.values:
        if not source.daily_spend or source.campaign is None:
            continue
        rng = seeded("spend", source.campaign)
        day = SPEND_FIRST
        while day <= SPEND_LAST:
            season = 1.7 if day.month == 11 and day.day >= 20 else 1.0
            week = 1.1 if day.weekday() in (3, 4, 5) else 0.95
            spend = source.daily_spend * season * week * rng.uniform(0.8, 1.2)
            yield day, source.channel, source.campaign, Decimal(f"{spend:.2f}")
            day += timedelta(days=1)
