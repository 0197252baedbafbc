"""The business in half a minute: what gold says, drawn as text for a terminal of 80 columns."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

BAR_WIDTH: Final = 14
MONTHS: Final = 7
CHANNELS: Final = 5
FOLLOWED: Final = 5
"""Months after the first in which a cohort is shown."""
SO_FAR: Final = "*"


class Month(NamedTuple):
    """A month of the business; of a ratio, None if there is nothing to divide by."""

    starts: date
    is_complete: bool
    revenue: Decimal
    orders: int
    aov: Decimal | None
    customers_new: int
    conversion_rate: Decimal | None
    mrr: Decimal


class Channel(NamedTuple):
    """What a channel brought in, by shares of its visits alike, and what it cost."""

    channel: str
    revenue: Decimal
    spend: Decimal
    roas: Decimal | None
    customers_new: int


class Segment(NamedTuple):
    """Customers alike in recency, frequency and money; None: those without an order."""

    segment: str | None
    customers: int
    revenue: Decimal
    expected: Decimal | None


class Cohort(NamedTuple):
    """Customers who first ordered in a month, and the share that ordered in each month from that one on."""

    month: date
    customers: int
    retention: Sequence[Decimal]


class Business(NamedTuple):
    """All that is drawn; months and cohorts in order of time, the rest in that in which it is shown."""

    currency: str
    months: Sequence[Month]
    channels: Sequence[Channel]
    segments: Sequence[Segment]
    cohorts: Sequence[Cohort]


def draw(business: Business, *, block: str = "█") -> Group:
    """Give the picture: at most 40 lines of 80 columns.

    Args:
        business: what it shows.
        block: what bars are made of; `#` where the terminal knows no other.
    """
    sides = Table.grid(padding=(0, 3, 0, 0))
    sides.add_row(_segments(business.segments), _cohorts(business.cohorts))
    parts = (_months(business, block), _channels(business.channels, block), sides)
    spaced = [line for part in parts for line in (part, Text())]
    return Group(*spaced, Text(_outlook(business)))


def bar(value: Decimal, largest: Decimal, block: str) -> str:
    """Give a bar as long as the value's share of the largest; whatever is above zero is seen."""
    if value <= 0:
        return ""
    return block * max(1, round(BAR_WIDTH * value / largest))


def _months(business: Business, block: str) -> Table:
    table = _table(f"Month by month, in {business.currency}", "month", "")
    for heading in ("revenue", "orders", "mean", "new", "buy", "MRR"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = business.months[-MONTHS:]
    largest = max((month.revenue for month in shown), default=Decimal(0))
    for month in shown:
        table.add_row(
            f"{month.starts:%Y-%m}{'' if month.is_complete else SO_FAR}",
            bar(month.revenue, largest, block),
            _whole(month.revenue),
            str(month.orders),
            "" if month.aov is None else f"{month.aov:,.2f}",
            str(month.customers_new),
            _percent(month.conversion_rate),
            _whole(month.mrr),
        )
    return table


def _channels(channels: Sequence[Channel], block: str) -> Table:
    table = _table("Where revenue came from, and what a unit of spend returned", "channel", "")
    for heading in ("revenue", "spend", "returned", "new"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = channels[:CHANNELS]
    largest = max((channel.revenue for channel in shown), default=Decimal(0))
    for channel in shown:
        table.add_row(
            _words(channel.channel),
            bar(channel.revenue, largest, block),
            _whole(channel.revenue),
            _whole(channel.spend) if channel.spend else "",
            "" if channel.roas is None else f"{channel.roas:,.1f} x",
            str(channel.customers_new),
        )
    return table


def _segments(segments: Sequence[Segment]) -> Table:
    table = _table("Customers", "segment")
    for heading in ("people", "revenue"):
        table.add_column(heading, justify="right", no_wrap=True)
    for segment in segments:
        name = "no order yet" if segment.segment is None else _words(segment.segment)
        table.add_row(name, str(segment.customers), _whole(segment.revenue))
    return table


def _cohorts(cohorts: Sequence[Cohort]) -> Table:
    table = _table("Of the new, who ordered months later", "month", gap=1)
    for heading in ("new", *(f"+{months}" for months in range(1, FOLLOWED + 1))):
        table.add_column(heading, justify="right", no_wrap=True)
    for cohort in cohorts[-MONTHS:]:
        later = [_percent(share) for share in cohort.retention[1 : FOLLOWED + 1]]
        table.add_row(f"{cohort.month:%Y-%m}", str(cohort.customers), *later)
    return table


def _outlook(business: Business) -> str:
    said = [f"{SO_FAR} so far; mean: of an order; buy: visits with a purchase; MRR: paid each month"]
    expected = [segment.expected for segment in business.segments if segment.expected is not None]
    if expected:
        said.append(f"expected of all customers in the next 12 months: {_whole(sum(expected, Decimal(0)))}")
    return "\n".join(said)


def _table(title: str, *headings: str, gap: int = 2) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=None,
        padding=(0, gap, 0, 0),
        pad_edge=False,
        min_width=len(title),  # else a long title takes two lines
    )
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


def _whole(amount: Decimal) -> str:
    return f"{amount:,.0f}"


def _percent(share: Decimal | None) -> str:
    return "" if share is None else f"{share:.0%}"
