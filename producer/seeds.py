"""The tables beside the events, as dbt seeds: what the shop's campaigns cost, and exchange rates."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import Final

from producer.shop.marketing import marketing_spend
from producer.shop.places import exchange_rates


def _to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def seed_files() -> dict[str, str]:
    """Give the content of each seed by its file name: the same every time."""
    return {
        "exchange_rates.csv": _to_csv(("rate_date", "currency", "rate"), exchange_rates()),
        "marketing_spend.csv": _to_csv(
            ("spend_date", "channel", "campaign", "spend"), sorted(marketing_spend())
        ),
    }


SEEDS: Final = Path(__file__).resolve().parent.parent / "dbt" / "seeds"

if __name__ == "__main__":
    for name, content in seed_files().items():
        (SEEDS / name).write_text(content)
