"""Bars side by side, as SVG: no library is needed for that."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

ROW: Final = 24
LABEL: Final = 260
BAR: Final = 270
NUMBER: Final = 80
TOP: Final = 48


class Bar(NamedTuple):
    """A bar as long as `mid`, with a whisker from `low` to `high`; a marked one stands out."""

    title: str
    low: float
    mid: float
    high: float
    marked: bool = False


def draw(panels: Mapping[str, Sequence[Bar]]) -> str:
    """Give a chart of panels, from left to right, whose bars are the same systems in the same order."""
    rows = max(map(len, panels.values()))
    width, height = LABEL + len(panels) * (BAR + NUMBER), TOP + rows * ROW + 12
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#222">'
        ),
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, bar in enumerate(next(iter(panels.values()))):
        weight = ' font-weight="bold"' if bar.marked else ""
        at = f'x="{LABEL - 8}" y="{_middle(number) + 4}" text-anchor="end"'
        parts.append(f"<text {at}{weight}>{escape(bar.title)}</text>")
    for number, (title, bars) in enumerate(panels.items()):
        left = LABEL + number * (BAR + NUMBER)
        parts.append(f'<text x="{left}" y="28" font-size="14" font-weight="bold">{escape(title)}</text>')
        scale = BAR / max(bar.high for bar in bars)
        for row, bar in enumerate(bars):
            parts += _bar(bar, left, _middle(row), scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _middle(row: int) -> int:
    return TOP + row * ROW + ROW // 2


def _bar(bar: Bar, left: float, middle: int, scale: float) -> list[str]:
    colour = "#1f6f8b" if bar.marked else "#a9b7c0"
    low, mid, high = (left + value * scale for value in (bar.low, bar.mid, bar.high))
    return [
        f'<rect x="{left}" y="{middle - 8}" width="{mid - left:.1f}" height="16" fill="{colour}"/>',
        (
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" '
            f'stroke="#222" fill="none"/>'
        ),
        f'<text x="{high + 6:.1f}" y="{middle + 4}">{bar.mid:,.0f}</text>',
    ]
