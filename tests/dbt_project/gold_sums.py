"""What several tables of gold are made of, of a reference, and the tables that people edit."""

import csv
from collections import defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final

from gold_reference import Reference, Row, instant, rounded

from producer.seeds import SEEDS


def ratio(numerator: Decimal | int, denominator: Decimal | int) -> Fraction | None:
    return Fraction(numerator) / Fraction(denominator) if denominator else None


def money(value: Fraction | Decimal | None) -> Decimal | None:
    return None if value is None else rounded(value)


def seed(name: str) -> list[dict[str, str]]:
    with (SEEDS / name).open(newline="") as file:
        return list(csv.DictReader(file))


PAID: Final = {row["channel"] for row in seed("channels.csv") if row["is_paid"] == "true"}
SEGMENTS: Final = seed("rfm_segments.csv")


def segment_of(rfm: str) -> str:
    [segment] = {
        row["segment"]
        for row in SEGMENTS
        if all(
            int(row[f"{name}_min"]) <= int(score) <= int(row[f"{name}_max"])
            for name, score in zip("rfm", rfm, strict=True)
        )
    }
    return segment


class Sums:
    """What several tables need of a reference."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.months = reference.periods("month")
        self.revenue = reference.revenue_by_customer()
        self.first_visit = reference.first_visits()
        self.profiles = {
            row["customer_id"]: row for row in reference.seen(reference.world.customers, "first_seen_at")
        }
        self.orders: dict[str, list[Row]] = defaultdict(list)
        for order in reference.orders.values():
            self.orders[order["customer_id"]].append(order)
        self.visits: dict[str, list[Row]] = defaultdict(list)
        self.visits_on: dict[date, list[Row]] = defaultdict(list)
        for visit in reference.visits:
            self.visits[visit["customer_id"]].append(visit)
            self.visits_on[visit["started_at"].date()].append(visit)
        self.active = [reference.active_customers(*month) for month in self.months]

    def channel(self, customer: str) -> str:
        visit = self.first_visit.get(customer)
        return str(visit["channel"]) if visit else "direct"

    def country(self, customer: str) -> str | None:
        profile, visit = self.profiles.get(customer, {}), self.first_visit.get(customer, {})
        return profile.get("country") or visit.get("country")

    def spent(self, start: date, end: date, channel: str | None = None) -> Decimal:
        return sum(
            (
                amount
                for day, its_channel, _, amount in self.reference.spend
                if start <= day < end and channel in (None, its_channel)
            ),
            Decimal(0),
        )

    def is_complete(self, end: date) -> bool:
        return instant(end) <= self.reference.as_of
