"""Rows a second of the bronze, fact and identity writers, on one connection, into a database of their own.

python bench/sink_writers.py postgresql://user@host/postgres --rows 100000 --batch 5000
"""

import argparse
import gc
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import psycopg

from sinks.database import Database
from sinks.migrate import upgrade
from sinks.registry import SINKS, open_database
from streams.engine.batch import placed
from streams.facts import RAW_AT, VisitorEvent, encode_fact
from streams.silver import Identity, encode_silver
from streams.topics import CLEAN_EVENTS, SILVER_IDENTITIES, raw_topic
from streams.transport import TransportIdentity, to_headers

NOW = datetime.now(UTC)


@dataclass(slots=True)
class Made:
    """A record as the engine hands it over."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    offset: int
    timestamp: int
    key: bytes | None = b"key"


def headers_of(number: int) -> list[tuple[str, Any]]:
    """Give the headers of a record, as forwarded from Kinesis."""
    arrived_at = int(NOW.timestamp() * 1000) + number // 10
    identity = TransportIdentity("", 1, "shardId-000000000001", f"{number:056d}", 0, "key", arrived_at)
    return [*to_headers(identity), (RAW_AT, b"%d" % arrived_at)]


def raw_record(number: int) -> Made:
    """Give a product event as it came, of about 400 bytes."""
    event = {
        "event_id": str(uuid.UUID(int=number * 7919)),
        "event_type": "product_viewed",
        "occurred_at": NOW.isoformat(),
        "customer_id": f"customer-{number % 5000}",
        "product_id": f"product-{number % 300}",
        "context": {"page_url": "https://shop.example/p/300", "user_agent": "Mozilla/5.0 " + "x" * 100},
    }
    return Made(msgspec.json.encode(event), headers_of(number), number, 0)


def fact_record(number: int) -> Made:
    """Give a clean event: one of ten is a purchase, the others are views."""
    fields: dict[str, Any] = {
        "event_id": str(uuid.UUID(int=number * 104729)),
        "occurred_at": NOW - timedelta(seconds=number),
        "arrived_at": NOW,
        "content_hash": number,
        "visitor_id": f"customer-{number % 5000}",
        "customer_id": f"customer-{number % 5000}",
        "page_url": "https://shop.example/p/300",
        "channel": "paid_search",
        "device": "mobile",
        "browser": "Firefox",
    }
    if number % 10:
        event = VisitorEvent(event_type="product_viewed", product_id=f"p{number % 300}", **fields)
    else:
        items = [{"product_id": f"p{number % 300}", "category": "books", "quantity": 1, "unit_price": "9.99"}]
        event = VisitorEvent(
            event_type="purchase",
            order_id=f"o{number}",
            amount=Decimal("9.99"),
            amount_base=Decimal("9.99"),
            currency="USD",
            items=items,
            **fields,
        )
    return Made(encode_fact(event), headers_of(number), number, int(NOW.timestamp() * 1000))


def anonymous_record(number: int) -> Made:
    """Give a clean event of a visitor that is not known yet; a third of them turn out to be customers."""
    visitor = f"visitor-{number % 5000}"
    event = VisitorEvent(
        event_id=str(uuid.UUID(int=number * 104729 + 1)),
        event_type="product_viewed",
        occurred_at=NOW + timedelta(seconds=number),
        arrived_at=NOW,
        content_hash=number,
        visitor_id=visitor,
        anonymous_id=visitor,
        product_id=f"p{number % 300}",
        has_context=True,
        page_url="https://shop.example/p/300",
        channel="paid_search",
        device="mobile",
        browser="Firefox",
    )
    return Made(encode_fact(event), headers_of(number), number, int(NOW.timestamp() * 1000))


def link_record(number: int) -> Made:
    """Give a link of a visitor to a customer, as an event that carried both ids gave it."""
    visitor = number * 3 % 5000
    link = Identity(
        anonymous_id=f"visitor-{visitor}",
        customer_id=f"customer-{visitor}",
        seen_at=NOW + timedelta(seconds=number),
    )
    return Made(encode_silver(link), headers_of(number), number, int(NOW.timestamp() * 1000))


def measure(database: Database, topic: str, make: Callable[[int], Made], rows: int, batch: int) -> None:
    """Write rows, then all of them again, and print both rates."""
    batches = [[make(n) for n in range(at, min(at + batch, rows))] for at in range(0, rows, batch)]
    gc.freeze()  # a worker does not hold all records at once, and collects rarely
    gc.set_threshold(200_000, 50, 50)
    for what in ("new", "again"):
        began, cpu = time.perf_counter(), time.process_time()
        for records in batches:
            SINKS[topic](database, placed(records, 0))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(
            f"{topic:20} {make.__name__:16} {what:6} {rows / seconds:10,.0f} rows/s"
            f"   {cpu / rows * 1e6:6.1f} µs of our CPU a row, {seconds / rows * 1e6:6.1f} µs in all"
        )


def main() -> None:
    """Measure on a database that is made for it and dropped after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", help="libpq URL of an admin database on the server")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=5_000)
    given = parser.parse_args()
    name = f"bench_{uuid.uuid4().hex[:8]}"
    url = f"{given.url.rsplit('/', 1)[0]}/{name}"
    with psycopg.connect(given.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            upgrade(url)
            database = open_database(url)
            measure(database, raw_topic("product-events"), raw_record, given.rows, given.batch)
            measure(database, CLEAN_EVENTS, fact_record, given.rows, given.batch)
            measure(database, SILVER_IDENTITIES, link_record, given.rows // 10, given.batch)
            measure(database, CLEAN_EVENTS, anonymous_record, given.rows, given.batch)
            database.close()
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


if __name__ == "__main__":
    main()
