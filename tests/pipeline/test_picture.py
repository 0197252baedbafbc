from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from pipeline.picture import BAR_WIDTH, Business, Channel, Cohort, Month, Segment, bar, draw


@dataclass
class Drawn:
    lines: list[str]

    def line(self, begins: str) -> list[str]:
        [found] = [line for line in self.lines if line.startswith(begins)]
        return found.split()


def drawn(business: Business, *, width: int = 80, **options: Any) -> Drawn:
    console = Console(width=width, file=StringIO())
    console.print(draw(business, **options))
    assert isinstance(console.file, StringIO)
    return Drawn(console.file.getvalue().splitlines())


def month(number: int = 1, revenue: str = "100.00", **fields: Any) -> Month:
    values = {
        "is_complete": True,
        "orders": 4,
        "aov": Decimal("25.00"),
        "customers_new": 2,
        "conversion_rate": Decimal("0.25"),
        "mrr": Decimal("40.00"),
    }
    return Month(date(2026, number, 1), revenue=Decimal(revenue), **{**values, **fields})


NOTHING = Business("EUR", [], [], [], [])
LARGE = Decimal("12345678.90")
LARGEST = Business(
    "USD",
    [
        month(n, str(LARGE), orders=999_999, aov=LARGE / 100, customers_new=99_999, mrr=LARGE)
        for n in range(1, 13)
    ],
    [Channel(f"organic_search_{n}", LARGE, LARGE, Decimal("1234.5"), 99_999) for n in range(10)],
    [
        *(Segment("potential_loyalist", 99_999, LARGE, LARGE) for _ in range(11)),
        Segment(None, 99_999, Decimal(0), None),
    ],
    [Cohort(date(2026, n, 1), 9_999, [Decimal(1)] * n) for n in range(12, 0, -1)],
)


def test_the_fullest_picture_fits_a_narrow_terminal_whole() -> None:
    lines = drawn(LARGEST).lines
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_a_picture_of_nothing_has_headings_and_no_rows() -> None:
    assert drawn(NOTHING).lines[0].startswith("Month by month, in EUR")


def test_a_month_says_what_it_was_and_which_is_not_over() -> None:
    business = NOTHING._replace(months=[month(1, "50.00"), month(2, "1100.00", is_complete=False)])
    shown = drawn(business)
    assert shown.line("2026-01") == ["2026-01", "█", "50", "4", "25.00", "2", "25%", "40"]
    assert shown.line("2026-02") == ["2026-02*", "█" * BAR_WIDTH, "1,100", "4", "25.00", "2", "25%", "40"]


def test_only_the_latest_months_are_shown() -> None:
    shown = drawn(NOTHING._replace(months=[month(n) for n in range(1, 13)]))
    assert [line[:7] for line in shown.lines if line.startswith("2026")] == [
        f"2026-{n:02}" for n in range(6, 13)
    ]


def test_what_cannot_be_divided_is_left_blank() -> None:
    business = NOTHING._replace(
        months=[month(1, "-5.00", orders=0, aov=None, conversion_rate=None)],
        channels=[Channel("email", Decimal("9.60"), Decimal(0), None, 3)],
    )
    assert drawn(business).line("2026-01") == ["2026-01", "-5", "0", "2", "40"]
    assert drawn(business).line("email") == ["email", "█" * BAR_WIDTH, "10", "3"]


def test_a_channel_says_what_a_unit_of_spend_returned() -> None:
    business = NOTHING._replace(channels=[Channel("paid_search", Decimal(30), Decimal(15), Decimal(2), 1)])
    assert drawn(business).line("paid search") == [
        "paid",
        "search",
        "█" * BAR_WIDTH,
        "30",
        "15",
        "2.0",
        "x",
        "1",
    ]


def test_segments_stand_beside_the_months_in_which_customers_began() -> None:
    business = NOTHING._replace(
        segments=[
            Segment("at_risk", 2, Decimal("100.00"), Decimal("60.40")),
            Segment(None, 7, Decimal(0), None),
        ],
        cohorts=[Cohort(date(2026, 1, 1), 4, [Decimal(1), Decimal("0.5"), Decimal(0)])],
    )
    shown = drawn(business)
    assert shown.line("at risk") == ["at", "risk", "2", "100", "2026-01", "4", "50%", "0%"]
    assert shown.line("no order yet") == ["no", "order", "yet", "7", "0"]
    assert shown.line("expected")[-1] == "60"


@pytest.mark.parametrize(("value", "length"), [("-3", 0), ("0", 0), ("0.01", 1), ("50", 7), ("100", 14)])
def test_bars_are_as_long_as_their_share_and_what_is_above_zero_is_seen(value: str, length: int) -> None:
    assert bar(Decimal(value), Decimal(100), "#") == "#" * length


def test_a_terminal_without_blocks_gets_plain_text() -> None:
    text = "\n".join(drawn(LARGEST, block="#").lines)
    assert text.isascii()
