"""A month of the synthetic shop: through the whole path behind Kinesis, and as its ledger tells it."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, groupby
from pathlib import Path
from typing import Final

from gold_sums import seed
from gold_world import Row, World
from offline_path import OfflinePath

from bench.raw import raw_message
from pipeline.reconcile import oracle_config
from pipeline.settings import Settings
from producer.ledger import LedgerWriter, read_ledger
from producer.oracle.tables import expected_tables
from producer.records import Record
from producer.run import ProduceConfig, make_records

END: Final = datetime(2026, 3, 4, 15, tzinfo=UTC)
HISTORY: Final = ProduceConfig(
    seed=7, end=END, count=50_000, days=35, customers=350, late=0.02, duplicates=0.01, broken=0.005
)
"""All of February and some days around it, with the usual share of what goes wrong."""


def arrivals(config: ProduceConfig) -> Iterator[tuple[Record, datetime]]:
    """Give the records in the order they are sent, each with the instant at which Kinesis takes it."""
    newest = config.end - timedelta(days=config.days)
    for record in make_records(config):
        if record.kind == "fact" and record.occurred_at is not None:
            newest = max(newest, record.occurred_at)
        yield record, newest


def send_history(settings: Settings, config: ProduceConfig, folder: Path) -> Path:
    """Send a history, a week at a time so that weeks meet in state and tables, and give its ledger."""
    ledger, numbers = folder / "ledger.jsonl", count(1)
    epoch = round(config.end.timestamp() * 1000)
    with LedgerWriter(ledger) as written, closing(OfflinePath(settings, folder / "state")) as path:
        for _, of_week in groupby(arrivals(config), key=lambda arrival: arrival[1].isocalendar()[:2]):
            sent, messages = [], []
            for record, at in of_week:
                sent.append(record)
                messages.append(raw_message(record, next(numbers), round(at.timestamp() * 1000), epoch=epoch))
            path.send(messages)
            written.write(sent)
    return ledger


def told_by(ledger: Path, settings: Settings) -> World:
    """Give the world that a ledger tells of, with the marketing spend of the project."""
    tables = expected_tables(read_ledger(ledger), oracle_config(settings))
    rows: dict[str, list[Row]] = {
        table.removeprefix("silver_"): [row._asdict() for row in found] for table, found in tables.items()
    }
    for row in rows["transactions"]:
        row["items"] = json.loads(row["items"], parse_float=Decimal) if row["items"] else None
    spend = [
        (row["spend_date"], row["channel"], row["campaign"], row["spend"])
        for row in seed("marketing_spend.csv")
    ]
    return World(
        transactions=rows["transactions"],
        sessions=rows["sessions"],
        identities=rows["identities"],
        customers=rows["customers"],
        customer_events=rows["customer_events"],
        products=rows["products"],
        product_events=rows["product_events"],
        system_logs=rows["system_logs"],
        spend=spend,
    )
