"""The metrics computed again, in plain Python straight from their definitions, sharing nothing with dbt."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import log1p
from statistics import median
from typing import Any

from gold_world import AS_OF, CENT, World

Row = dict[str, Any]
GAP = timedelta(minutes=30)
MODELS = ("first", "last", "last_non_direct", "linear", "position", "time_decay")


def month_of(day: date) -> date:
    return day.replace(day=1)


def next_month(day: date) -> date:
    return (month_of(day) + timedelta(days=32)).replace(day=1)


def instant(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def rounded(value: Fraction | Decimal, places: int = 2) -> Decimal:
    """Round as money is, half away from zero, from the exact value."""
    scaled = abs(Fraction(value)) * 10**places
    digits = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(digits if value >= 0 else -digits).scaleb(-places)


class Reference:
    """All metrics of a world as of an instant."""

    def __init__(self, world: World, as_of: datetime = AS_OF) -> None:
        self.world = world
        self.as_of = as_of
        self.transactions = sorted(
            self.seen(world.transactions, "occurred_at"),
            key=lambda row: (row["occurred_at"], row["event_id"]),
        )
        self.orders: dict[str, Row] = {}
        for row in self.transactions:
            if row["transaction_type"] == "purchase":
                self.orders.setdefault(row["order_id"], row)
        self.refunds = [row for row in self.transactions if row["transaction_type"] == "refund"]
        self.visits = stitch(self.seen(world.sessions, "started_at"), self.seen(world.identities, "seen_at"))
        self.spells = subscription_spells(self.transactions)
        self.spend = [
            (day, channel, campaign, Decimal(amount))
            for text, channel, campaign, amount in world.spend
            if instant(day := date.fromisoformat(text)) < as_of
        ]
        self.days = self._days()

    def seen(self, rows: Iterable[Row], column: str) -> list[Row]:
        return [row for row in rows if row[column] < self.as_of]

    def _days(self) -> list[date]:
        first = min(
            [row["occurred_at"].date() for row in self.transactions]
            + [row["started_at"].date() for row in self.seen(self.world.sessions, "started_at")]
            + [date.fromisoformat(row[0]) for row in self.world.spend]
        )
        last = (self.as_of - timedelta(microseconds=1)).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    def bookings(self) -> list[tuple[Row, Decimal]]:
        purchases = [(row, row["amount_base"]) for row in self.orders.values()]
        return purchases + [(row, -row["amount_base"]) for row in self.refunds]

    def payment_risks(self) -> dict[str, float]:
        """How far above the median of their peers customers are, by the seed's weights."""
        weights = {
            "refunds": (0.35, 0.05),
            "largest": (0.2, 0.1),
            "a_day": (0.2, 1.0),
            "methods": (0.15, 1.0),
            "countries": (0.1, 1.0),
        }
        orders: dict[str, list[Row]] = defaultdict(list)
        for order in self.orders.values():
            orders[order["customer_id"]].append(order)
        refunded: Counter[str] = Counter()
        for row in self.refunds:
            refunded[row["customer_id"]] += row["amount_base"]
        peers: dict[int, dict[str, dict[str, float]]] = defaultdict(dict)
        for customer, own in orders.items():
            purchased = sum(order["amount_base"] for order in own)
            band = bisect_left([1, 4, 9], len(own))
            peers[band][customer] = {
                "refunds": float(refunded[customer] / purchased) if purchased else 0.0,
                "largest": log1p(float(max(order["amount_base"] for order in own))),
                "a_day": max(Counter(order["occurred_at"].date() for order in own).values()),
                "methods": len({order.get("payment_method") for order in own} - {None}),
                "countries": len({order.get("country") for order in own} - {None}),
            }
        risks: dict[str, float] = defaultdict(float)
        for members in peers.values():
            for feature, (weight, smallest) in weights.items():
                middle = median(values[feature] for values in members.values())
                mad = median(abs(values[feature] - middle) for values in members.values())
                for customer, values in members.items():
                    above = (values[feature] - middle) / max(1.4826 * mad, smallest) / 6
                    risks[customer] += weight * min(max(above, 0.0), 1.0)
        return dict(risks)

    # business metrics

    def periods(self, grain: str) -> list[tuple[date, date]]:
        if grain == "day":
            return [(day, day + timedelta(days=1)) for day in self.days]
        return [(month, next_month(month)) for month in sorted({month_of(day) for day in self.days})]

    def revenue(self, start: date, end: date) -> Decimal:
        return sum((m for row, m in self.bookings() if start <= row["occurred_at"].date() < end), Decimal(0))

    def orders_in(self, start: date, end: date) -> list[Row]:
        return [row for row in self.orders.values() if start <= row["occurred_at"].date() < end]

    def new_customers(self, start: date, end: date) -> set[str]:
        firsts: dict[str, date] = {}
        for row in self.orders.values():
            day = row["occurred_at"].date()
            firsts[row["customer_id"]] = min(day, firsts.get(row["customer_id"], day))
        return {customer for customer, day in firsts.items() if start <= day < end}

    def active_customers(self, start: date, end: date) -> set[str]:
        subscribed = {
            s["customer_id"]
            for s in self.spells
            if s["from"] < min(instant(end), self.as_of) and s["to"] > instant(start)
        }
        return subscribed | {row["customer_id"] for row in self.orders_in(start, end)}

    def mrr(self, at: datetime) -> dict[str, Decimal]:
        """MRR of each customer just before an instant."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for spell in self.spells:
            if spell["from"] < at <= spell["to"]:
                found[spell["customer_id"]] += spell["mrr"]
        return {customer: amount for customer, amount in found.items() if amount}

    def mrr_movements(self, start: date, end: date) -> dict[str, Decimal]:
        before, after = self.mrr(instant(start)), self.mrr(min(instant(end), self.as_of))
        paid_before = {s["customer_id"] for s in self.spells if s["mrr"] > 0 and s["from"] < instant(start)}
        moved: dict[str, Decimal] = defaultdict(Decimal)
        moved["mrr_start"], moved["mrr"] = sum(before.values()), sum(after.values())
        for customer in before.keys() | after.keys():
            was, now = before.get(customer, Decimal(0)), after.get(customer, Decimal(0))
            if was == 0:
                moved["mrr_reactivation" if customer in paid_before else "mrr_new"] += now
            elif now == 0:
                moved["mrr_churned"] += was
            else:
                moved["mrr_expansion"] += max(now - was, Decimal(0))
                moved["mrr_contraction"] += max(was - now, Decimal(0))
        return moved

    # customers

    def rfm(self, before: date = date.max) -> dict[str, str]:
        """Score the customers with an order by what was booked before a day."""
        ordered = [row for row in self.orders.values() if row["occurred_at"].date() < before]
        last: dict[str, date] = {}
        for row in ordered:
            last[row["customer_id"]] = max(row["occurred_at"].date(), last.get(row["customer_id"], date.min))
        orders = Counter(row["customer_id"] for row in ordered)
        revenue = self.revenue_by_customer(before)
        scores = [
            _scores({c: Fraction(last[c].toordinal()) for c in orders}),
            _scores({c: Fraction(orders[c]) for c in orders}),
            _scores({c: Fraction(revenue[c]) for c in orders}),
        ]
        return {c: "".join(str(score[c]) for score in scores) for c in orders}

    def revenue_by_customer(self, before: date = date.max) -> dict[str, Decimal]:
        totals: dict[str, Decimal] = defaultdict(Decimal)
        for row, amount in self.bookings():
            if row["occurred_at"].date() < before:
                totals[row["customer_id"]] += amount
        return totals

    def first_visits(self) -> dict[str, Row]:
        """Give each customer's first visit."""
        found: dict[str, Row] = {}
        for visit in sorted(self.visits, key=lambda visit: (visit["started_at"], visit["session_id"])):
            if visit["customer_id"]:
                found.setdefault(visit["customer_id"], visit)
        return found

    # attribution

    def attribution(self) -> dict[tuple[date, str, str, str, str], tuple[Fraction, Decimal]]:
        credited: dict[tuple[date, str, str, str, str], list[Any]] = defaultdict(
            lambda: [Fraction(0), Decimal(0)]
        )
        visits: dict[str, list[Row]] = defaultdict(list)
        for visit in self.visits:
            visits[visit["customer_id"]].append(visit)
        for order_id, refunds in self.refunds_by_order().items():
            order = self.orders.get(order_id)
            touches = _touches(visits, order)
            for model in MODELS:
                shares = _shares(model, touches)
                for row, credited_cents in shared_out(order, refunds, shares):
                    for touch, share, cents in zip(touches, shares, credited_cents, strict=True):
                        if share:
                            entry = credited[_key(row, model, touch, order)]
                            entry[0] += share if row is order else 0
                            entry[1] += cents
        return {key: (share, amount) for key, (share, amount) in credited.items()}

    def refunds_by_order(self) -> dict[str, list[Row]]:
        """Give the refunds of each order, also of orders that nobody saw."""
        refunds: dict[str, list[Row]] = {order_id: [] for order_id in self.orders}
        for row in self.refunds:
            refunds.setdefault(row["order_id"], []).append(row)
        return refunds


def shared_out(
    order: Row | None, refunds: list[Row], shares: list[Fraction]
) -> Iterator[tuple[Row, list[Decimal]]]:
    """Give what each share has of an order, and what its refunds take back from it."""
    if order is not None:
        yield order, _allocate(order["amount_base"], shares)
    taken, before = Decimal(0), [Decimal(0)] * len(shares)
    for refund in refunds:
        taken += refund["amount_base"]
        after = _allocate(taken, shares)
        yield refund, [was - now for was, now in zip(before, after, strict=True)]
        before = after


def _key(row: Row, model: str, touch: Row, order: Row | None) -> tuple[date, str, str, str, str]:
    category = (order or {}).get("category") or "unknown"
    return row["occurred_at"].date(), model, touch["channel"], touch["campaign"] or "(none)", category


def _touches(visits: dict[str, list[Row]], order: Row | None) -> list[Row]:
    direct = [{"channel": "direct", "campaign": None, "age": timedelta(0)}]
    if order is None:
        return direct
    at = order["occurred_at"]
    found = [
        {**visit, "age": at - visit["started_at"]}
        for visit in visits[order["customer_id"]]
        if at - timedelta(days=30) <= visit["started_at"] <= at
    ]
    return sorted(found, key=lambda visit: (visit["started_at"], visit["session_id"])) or direct


def _shares(model: str, touches: list[Row]) -> list[Fraction]:
    count = len(touches)
    if model == "linear":
        return [Fraction(1, count)] * count
    if model == "position":
        if count <= 2:
            return [Fraction(1, count)] * count
        return [Fraction(2, 5), *[Fraction(1, 5 * (count - 2))] * (count - 2), Fraction(2, 5)]
    if model == "time_decay":
        weights = [Fraction(2 ** -(touch["age"].total_seconds() / (7 * 86400))) for touch in touches]
        return [weight / sum(weights) for weight in weights]
    chosen = {"first": 0, "last": count - 1}.get(model, count - 1)
    if model == "last_non_direct":
        chosen = max((n for n, touch in enumerate(touches) if touch["channel"] != "direct"), default=chosen)
    return [Fraction(int(n == chosen)) for n in range(count)]


def _allocate(amount: Decimal, shares: list[Fraction]) -> list[Decimal]:
    cents = int(amount * 100)
    quotas = [cents * share for share in shares]
    floors = [int(quota) for quota in quotas]
    order = sorted(range(len(shares)), key=lambda n: (floors[n] - quotas[n], n))
    for n in order[: cents - sum(floors)]:
        floors[n] += 1
    return [Decimal(floor) / 100 for floor in floors]


def _scores(values: dict[str, Fraction]) -> dict[str, int]:
    ordered = sorted(values.values())
    last = len(ordered) - 1
    return {
        key: min(5, 1 + (5 * bisect_left(ordered, value)) // last) if last else 1
        for key, value in values.items()
    }


def stitch(sessions: list[Row], identities: list[Row]) -> list[Row]:
    """Give visits: sessions of one person within the gap, bots and runaways left out."""
    links: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for link in identities:
        links[link["anonymous_id"]].append((link["seen_at"], link["customer_id"]))
    people: dict[str, list[Row]] = defaultdict(list)
    for session in sessions:
        if session["is_bot"] or session["is_runaway"]:
            continue
        customer = session["customer_id"]
        if customer is None:
            known = sorted(links[session["visitor_id"]])
            later = [who for at, who in known if at >= session["started_at"]]
            customer = later[0] if later else (known[-1][1] if known else None)
        person = f"customer {customer}" if customer else f"visitor {session['visitor_id']}"
        channel = session["channel"] or "direct"
        people[person].append({**session, "customer_id": customer, "channel": channel})
    visits = []
    for own in people.values():
        own.sort(key=lambda session: (session["started_at"], session["session_id"]))
        reached = None
        for session in own:
            if reached is None or session["started_at"] - reached > GAP:
                visits.append(dict(session))
                reached = session["ended_at"]
            else:
                visits[-1]["carts"] += session["carts"]
                visits[-1]["purchases"] += session["purchases"]
                reached = max(reached, session["ended_at"])
            visits[-1]["ended_at"] = reached
    return visits


def subscription_spells(transactions: list[Row]) -> list[Row]:
    """Give the stretches in which subscriptions are active, amounts at the rate of the start."""
    by_subscription: dict[str, list[Row]] = defaultdict(list)
    for row in transactions:
        if row["transaction_type"].startswith("subscription_"):
            by_subscription[row["subscription_id"]].append(row)
    spells = []
    for rows in by_subscription.values():
        rate = next(row["rate"] for row in rows if row["transaction_type"] != "subscription_cancelled")
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            if row["transaction_type"] == "subscription_cancelled":
                continue
            lapses = _plus_one_month(row["occurred_at"]) + timedelta(days=7)
            end = min(lapses, following["occurred_at"]) if following else lapses
            spells.append(
                {
                    "customer_id": row["customer_id"],
                    "subscription_id": row["subscription_id"],
                    "plan": row.get("plan"),
                    "from": row["occurred_at"],
                    "to": end,
                    "mrr": (row["monthly_amount"] * rate).quantize(CENT, rounding=ROUND_HALF_UP),
                }
            )
    return [spell for spell in spells if spell["to"] > spell["from"]]


def _plus_one_month(at: datetime) -> datetime:
    last_day = (next_month(next_month(at.date())) - timedelta(days=1)).day
    following = next_month(at.date())
    return at.replace(year=following.year, month=following.month, day=min(at.day, last_day))
