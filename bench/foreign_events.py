"""Events that our producer did not make, and what must come of them: an independent judge of the whole path.

python bench/foreign_events.py make events.jsonl --events 50000 --seed 7
python bench/foreign_events.py check events.jsonl… [--url postgresql://…]

Nothing of the pipeline is imported (but its settings, for the default of --url): what a good event is, how
sessions are cut and how money is converted is written here a second time, in the plainest way.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from foreign_judge import Rates, Session, cut_sessions, judge, last_listings
from foreign_lines import make_lines

RATES_FILE: Final = Path(__file__).resolve().parent.parent / "dbt" / "seeds" / "exchange_rates.csv"
FACT_IDS: Final = " UNION ALL ".join(
    f"SELECT event_id::text FROM silver.silver_{table}"  # noqa: S608  (our own names)
    for table in ("transactions", "product_events", "customer_events", "system_logs")
)
BRONZE_ROWS: Final = " + ".join(
    f"(SELECT count(*) FROM bronze.bronze_{table})"  # noqa: S608  (our own names)
    for table in ("customer_events", "transaction_events", "product_events", "system_logs")
)
SESSIONS: Final = (
    "SELECT visitor_id, started_at, ended_at, events, purchases, revenue_base FROM silver.silver_sessions"
)
PRODUCTS: Final = "SELECT product_id, name, price, is_listed FROM silver.silver_products"


def check(paths: Sequence[Path], url: str, rates: Rates) -> bool:
    """Compare the database with the files, print what differs and say whether nothing does."""
    judged = judge(paths, rates)
    with psycopg.connect(url, options="-c TimeZone=UTC") as connection:

        def rows(query: str) -> list[Any]:
            return connection.execute(query.encode()).fetchall()

        letters = "SELECT payload FROM silver.dead_letters WHERE status = 'pending'"
        return all(
            [
                _compare(
                    "records in bronze", [judged.lines], [row[0] for row in rows(f"SELECT {BRONZE_ROWS}")]
                ),
                _compare("facts by id", list(judged.events), [row[0] for row in rows(FACT_IDS)]),
                _compare(
                    "dead letters by payload",
                    list(judged.broken.elements()),
                    [bytes(row[0]) for row in rows(letters)],
                ),
                _compare(
                    "sessions", cut_sessions(judged.events, rates), [Session(*row) for row in rows(SESSIONS)]
                ),
                _compare("products", last_listings(judged.events), rows(PRODUCTS)),
            ]
        )


def _compare(what: str, wanted: Sequence[Any], found: Sequence[Any]) -> bool:
    missing, extra = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    is_equal = not missing and not extra
    print(f"{what:24} {len(wanted):8} wanted {len(found):8} found   {'equal' if is_equal else 'DIFFERENT'}")
    for name, difference in (("missing", missing), ("too many", extra)):
        for one in list(difference.elements())[:5]:
            print(f"    {name}: {one!r:.300}")
        if difference:
            print(f"    {name}: {difference.total()} in all")
    return is_equal


def main() -> None:
    """Make a file, or check what came of one; the exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("make")
    making.add_argument("file", type=Path)
    making.add_argument("--events", type=int, default=50_000, help="lines in all")
    making.add_argument("--seed", type=int, default=7)
    checking = actions.add_parser("check")
    checking.add_argument("files", type=Path, nargs="+")
    checking.add_argument("--url", help="of the database; else that of the running pipeline")
    given = parser.parse_args()
    rates = Rates(RATES_FILE)
    if given.action == "make":
        given.file.write_bytes(b"\n".join(make_lines(given.events, given.seed)) + b"\n")
        judged = judge([given.file], rates)
        print(f"{given.file}: {judged.lines} lines with content, {len(judged.events)} distinct good events,")
        print(f"{judged.broken.total()} broken lines, {len(cut_sessions(judged.events, rates))} sessions")
        return
    if given.url is None:
        from pipeline.settings import load_settings  # noqa: PLC0415  (only for the default)

        given.url = load_settings().postgres_url.get_secret_value()
    sys.exit(not check(given.files, given.url, rates))


if __name__ == "__main__":
    main()
