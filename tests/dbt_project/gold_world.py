"""A small made-up silver, with every awkward case in it, and how it is written to Postgres."""

import json
import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

AS_OF = datetime(2026, 2, 15, 12, tzinfo=UTC)
FIRST = datetime(2024, 12, 3, tzinfo=UTC)
CHANNELS = ("paid_search", "organic_search", "email", "direct", "direct", "paid_social")
CATEGORIES = ("books", "garden", "toys")
CENT = Decimal("0.01")

Row = dict[str, Any]


@dataclass
class World:
    """Rows of the silver tables, each with the columns that gold reads."""

    transactions: list[Row] = field(default_factory=list)
    sessions: list[Row] = field(default_factory=list)
    identities: list[Row] = field(default_factory=list)
    customers: list[Row] = field(default_factory=list)
    customer_events: list[Row] = field(default_factory=list)
    products: list[Row] = field(default_factory=list)
    product_events: list[Row] = field(default_factory=list)
    system_logs: list[Row] = field(default_factory=list)
    spend: list[tuple[str, str, str, str]] = field(default_factory=list)


def make_world(seed: int, customers: int) -> World:
    """Make a world; some of it lies after `AS_OF` and must not be seen."""
    maker = _Maker(random.Random(seed))
    for number in range(customers):
        maker.add_customer(f"customer-{number:04}")
    maker.add_strangers()
    maker.add_logs()
    return maker.world


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.world = World()
        for month in range(1, 13):
            for channel in ("paid_search", "paid_social"):
                self.world.spend.append(
                    (f"2025-{month:02}-07", channel, "spring", f"{rng.randint(1, 90000) / 100}")
                )

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.rng.getrandbits(128))

    def instant(self, earliest: datetime = FIRST) -> datetime:
        seconds = int((AS_OF + timedelta(days=4) - earliest).total_seconds())
        return earliest + timedelta(seconds=self.rng.randint(0, max(1, seconds)))

    def add_customer(self, customer_id: str) -> None:
        rng = self.rng
        created_at = self.instant()
        self.world.customers.append(
            {
                "customer_id": customer_id,
                "email": f"{customer_id}@example.org",
                "name": "Somebody",
                "country": rng.choice(["DE", "FR", None]),
                "created_at": created_at,
                "first_seen_at": created_at,
                "last_seen_at": created_at,
                "is_deleted": rng.random() < 0.05,
            }
        )
        visitors = [f"visitor-{customer_id}-{n}" for n in range(rng.randint(0, 2))]
        if rng.random() < 0.2:
            visitors.append("visitor-shared")
        for visitor in visitors:
            for _ in range(rng.randint(1, 3)):
                self.world.identities.append(
                    {"anonymous_id": visitor, "customer_id": customer_id, "seen_at": self.instant(created_at)}
                )
            for _ in range(rng.randint(0, 3)):
                self.add_session(visitor, None, self.instant(created_at - timedelta(days=20)))
        for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 6])):
            self.add_order(customer_id, created_at)
        for _ in range(rng.randint(0, 4)):
            started_at = self.instant(created_at)
            ended_at = self.add_session(customer_id, customer_id, started_at)
            if visitors and rng.random() < 0.4:  # goes on after logging out: within the gap, or just not
                step = timedelta(seconds=rng.choice([60, 1800, 1801]))
                self.add_session(visitors[0], None, ended_at + step)
        if rng.random() < 0.4:
            self.add_subscription(customer_id, created_at)

    def add_strangers(self) -> None:
        for number in range(80):
            self.add_session(f"stranger-{number}", None, self.instant())
        # a refund of an order nobody saw
        self.add_transaction("refund", "customer-0000", FIRST, order_id="never-seen", amount=Decimal("12.34"))
        # facts of a customer whose profile has not come yet
        self.add_transaction(
            "purchase", "no-profile", FIRST + timedelta(days=3), order_id="early", amount=Decimal("5.00")
        )

    def add_session(
        self, visitor_id: str, customer_id: str | None, started_at: datetime, *, purchases: int = 0
    ) -> datetime:
        rng = self.rng
        ended_at = started_at + timedelta(seconds=rng.choice([0, 30, 600, 4000]))
        channel = rng.choice(CHANNELS)
        self.world.sessions.append(
            {
                "session_id": f"s-{self.uuid().hex}",
                "visitor_id": visitor_id,
                "customer_id": customer_id,
                "started_at": started_at,
                "ended_at": ended_at,
                "events": 1 + rng.randint(0, 9),
                "carts": purchases + (started_at.second % 3 == 0),
                "purchases": purchases,
                "channel": channel,
                "campaign": None if channel == "direct" else rng.choice(["spring", "autumn", None]),
                "is_bot": rng.random() < 0.05,
                "is_runaway": rng.random() < 0.02,
            }
        )
        return ended_at

    def add_order(self, customer_id: str, created_at: datetime) -> None:
        rng = self.rng
        ordered_at = self.instant(created_at)
        order_id = f"order-{self.uuid().hex[:12]}"
        amount = rng.choice([Decimal(0), *[Decimal(rng.randint(1, 30000)) * CENT for _ in range(9)]])
        items = [
            {
                "product_id": f"product-{rng.randint(1, 12)}",
                "category": rng.choice(CATEGORIES),
                "quantity": rng.randint(1, 3),
                "unit_price": str(Decimal(rng.randint(0, 9999)) * CENT),
            }
            for _ in range(rng.randint(0, 3))
        ]
        category = rng.choice([*CATEGORIES, None])
        self.add_transaction(
            "purchase",
            customer_id,
            ordered_at,
            order_id=order_id,
            amount=amount,
            items=items,
            category=category,
        )
        if rng.random() < 0.7:  # most orders happen in a visit, which the order's event is part of
            started_at = ordered_at - timedelta(seconds=rng.choice([0, 300]))
            self.add_session(customer_id, customer_id, started_at, purchases=1)
        if rng.random() < 0.05:  # the same order sent again, later and with another amount
            self.add_transaction(
                "purchase", customer_id, ordered_at + timedelta(hours=1), order_id=order_id, amount=amount + 1
            )
        for part in range(rng.choice([0, 0, 0, 1, 2, 3])):
            refunded = (amount / 3).quantize(CENT)
            if refunded > 0:
                at = ordered_at + timedelta(days=part * 9, seconds=rng.choice([0, 5000]))
                self.add_transaction("refund", customer_id, at, order_id=order_id, amount=refunded)

    def add_subscription(self, customer_id: str, created_at: datetime) -> None:
        rng = self.rng
        subscription_id = f"subscription-{self.uuid().hex[:12]}"
        currency, rate = rng.choice([("USD", Decimal(1)), ("EUR", Decimal("1.1"))])
        amount = Decimal(rng.choice(["0", "10.00", "19.99"]))
        at = self.instant(created_at)
        kind = "subscription_started"
        while at < AS_OF + timedelta(days=10):
            self.add_transaction(
                kind,
                customer_id,
                at,
                subscription_id=subscription_id,
                plan=f"plan-{amount}",
                monthly_amount=amount,
                monthly_amount_base=(amount * rate).quantize(CENT),
                currency=currency,
                rate=rate,
            )
            chance = rng.random()
            if chance < 0.06:
                self.add_transaction(
                    "subscription_cancelled",
                    customer_id,
                    at + timedelta(days=rng.choice([0, 9])),
                    subscription_id=subscription_id,
                )
                if rng.random() < 0.5:
                    return
            elif chance < 0.15:
                amount = Decimal(rng.choice(["10.00", "19.99", "30.00"]))
            if currency == "EUR":
                rate += Decimal("0.01")  # must never look like expansion
            kind = "subscription_renewed"
            at += timedelta(days=rng.choice([28, 30, 30, 31, 38, 70]))  # 70: lapsed in between

    def add_transaction(self, kind: str, customer_id: str, at: datetime, **values: Any) -> None:
        amount = values.get("amount")
        self.world.transactions.append(
            {
                "event_id": self.uuid(),
                "occurred_at": at,
                "transaction_type": kind,
                "customer_id": customer_id,
                "currency": "USD",
                "amount_base": amount,
                "rate": Decimal(1),
                **values,
            }
        )

    def add_logs(self) -> None:
        for number in range(200):
            self.world.system_logs.append(
                {
                    "event_id": self.uuid(),
                    "occurred_at": AS_OF - timedelta(seconds=number * 7),
                    "service": "checkout",
                    "level": "error" if number % 10 == 0 else "info",
                    "message": "line",
                    "latency_ms": float(number),
                }
            )
        for kind in ("product_viewed", "product_viewed", "cart_added", "product_listed", "page_viewed"):
            self.world.product_events.append(
                {
                    "event_id": self.uuid(),
                    "occurred_at": FIRST,
                    "event_type": kind,
                    "visitor_id": "stranger-0",
                    "anonymous_id": "stranger-0",
                    "product_id": "product-1",
                    "is_bot": False,
                }
            )


def fact_rows(name: str, rows: Iterable[Row]) -> list[Row]:
    """Give facts with the columns that all have: as if they had arrived when they happened."""
    return [
        {
            "content_hash": 0,
            "arrived_at": row["occurred_at"],
            "stream": name,
            "stream_epoch": 0,
            "shard": "shard",
            "sequence_number": str(number),
            "sub_sequence_number": 0,
            **row,
        }
        for number, row in enumerate(rows)
    ]


def write_world(url: str, world: World) -> None:
    """Write the world's rows to the silver tables of a migrated database."""
    with psycopg.connect(url) as connection:
        for name in ("transactions", "product_events", "system_logs"):
            copy_rows(connection, f"silver.silver_{name}", fact_rows(name, getattr(world, name)))
        for name in ("sessions", "customers"):
            copy_rows(connection, f"silver.silver_{name}", getattr(world, name))
        links = list({tuple(row.values()): row for row in world.identities}.values())
        copy_rows(connection, "silver.silver_identities", links)


def copy_rows(connection: psycopg.Connection, table: str, rows: list[Row]) -> None:
    """Write rows to a table; columns that a row lacks are null, those that all lack have their defaults."""
    columns = sorted({column for row in rows for column in row})
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor().copy(statement) as copy:
        for row in rows:
            values = [row.get(column) for column in columns]
            copy.write_row(
                [json.dumps(value) if isinstance(value, list | dict) else value for value in values]
            )
