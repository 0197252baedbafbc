"""Events that no shop would make: everything on few visitors, instants on the edges of sessions and days."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec

from producer.records import Record
from producer.shop.agents import AGENTS
from producer.shop.marketing import SHOP, SOURCES
from streams.events import STREAM_OF_TYPE

MILLISECOND = timedelta(milliseconds=1)
GAP = timedelta(minutes=30)
CURRENCIES = ("USD", "EUR", "JPY", "GBP")
COUNTRIES = ("de", "US", "Fr")
NAMES = ("Ada", "Zoë", "名前", 'O\'Neill \\ "x"', "")
TYPES = (
    *("page_viewed", "product_viewed", "product_searched", "cart_added", "cart_removed") * 3,
    *("checkout_started", "product_reviewed", "product_listed", "product_delisted", "log"),
    *("signup", "login", "logout", "profile_updated", "profile_updated", "account_deleted"),
    *("purchase", "purchase", "refund", "subscription_started", "subscription_cancelled"),
)

Fields = dict[str, Any]


class World:
    """Draws events.

    Args:
        rng: decides everything.
        end: no event is after it.
        visitors: how many customers, devices and products there are of each.
        days: how far back events lie.
    """

    def __init__(self, rng: random.Random, end: datetime, *, visitors: int = 12, days: int = 4) -> None:
        self._rng = rng
        self._end = end
        self._visitors = visitors
        self._steps = days * 48

    def records(self, count: int) -> Iterator[Record]:
        """Give so many facts, some of them twice."""
        for _ in range(count):
            event_type = self._rng.choice(TYPES)
            fields = self._event(event_type)
            record = Record(
                stream=STREAM_OF_TYPE[event_type],
                value=msgspec.json.encode(fields),
                partition_key=str(fields.get("customer_id") or fields.get("anonymous_id") or "none"),
                event_id=fields["event_id"],
                event_type=event_type,
                occurred_at=datetime.fromisoformat(fields["occurred_at"]),
            )
            yield record
            if self._rng.random() < 0.1:
                yield record

    def _event(self, event_type: str) -> Fields:
        rng = self._rng
        fields: Fields = {
            "event_id": str(UUID(int=rng.getrandbits(128), version=4)),
            "event_type": event_type,
            "occurred_at": self._instant(),
        }
        if event_type in {"log", "product_listed", "product_delisted"}:
            return fields | _SPECIFIC[event_type](self)
        if event_type not in _OF_CUSTOMERS and rng.random() < 0.5:
            fields["anonymous_id"] = self._one_of("d")
        else:
            fields["customer_id"] = self._one_of("c")
            if rng.random() < 0.5:
                fields["anonymous_id"] = self._one_of("d")
        if rng.random() < 0.7:
            fields["context"] = self._context()
        return fields | _SPECIFIC.get(event_type, lambda _: {})(self)

    def _instant(self) -> str:
        """Draw an instant: often a multiple of the gap, a millisecond beside it, or one that others have."""
        rng = self._rng
        at = self._end - GAP * rng.randrange(1, self._steps)
        at += rng.choice((0, 0, 0, -1, 1, rng.randrange(1_800_000))) * MILLISECOND
        return at.astimezone(rng.choice((UTC, timezone(timedelta(hours=-7)), timezone(GAP * 11)))).isoformat()

    def _one_of(self, kind: str) -> str:
        return f"{kind}-{self._rng.randrange(self._visitors)}"

    def _context(self) -> Fields:
        rng = self._rng
        source = SOURCES.draw(rng)
        found: Fields = {
            "page_url": f"{SHOP}/{rng.randrange(9)}",
            "referrer": rng.choice((f"{SHOP}/", *source.referrers))
            if source.utm_medium or source.referrers
            else None,
            "user_agent": rng.choice(list(AGENTS)),
            "country": rng.choice(COUNTRIES),
            "utm_source": source.utm_source,
            "utm_medium": source.utm_medium,
            "utm_campaign": source.campaign,
        }
        return {name: value for name, value in found.items() if value is not None or rng.random() < 0.5}

    def amount(self) -> Any:
        """Draw an amount: a text or a number, with none to four decimals."""
        rng = self._rng
        text = f"{rng.randrange(1, 10**6) / 10**4:.{rng.randrange(5)}f}"
        text = text if float(text) > 0 else "0.0005"
        return text if rng.random() < 0.5 else msgspec.Raw(text.encode())

    def money(self) -> Fields:
        """Draw the fields that all transactions have."""
        return {"currency": self._rng.choice(CURRENCIES)}

    def purchase(self) -> Fields:
        """Draw an order."""
        rng = self._rng
        price = rng.choice(("1.00", "2.5", "0"))
        items = [
            {
                "product_id": self._one_of("p"),
                "category": rng.choice(("x", "y")),
                "quantity": rng.randrange(1, 4),
                "unit_price": price,
            }
            for _ in range(rng.randrange(1, 4))
        ]
        optional: Fields = {"coupon": rng.choice((None, "C")), "discount": rng.choice((None, "0.10", "0"))}
        return (
            self.money()
            | optional
            | {
                "order_id": f"o-{rng.randrange(500)}",
                "amount": self.amount(),
                "items": items,
                "payment_method": "card",
            }
        )

    def refund(self) -> Fields:
        """Draw a refund, perhaps of an order that is none."""
        return self.money() | {"order_id": f"o-{self._rng.randrange(500)}", "amount": self.amount()}

    def subscription(self) -> Fields:
        """Draw a step of a subscription."""
        step = {"subscription_id": self._one_of("s"), "plan": "basic", "monthly_amount": self.amount()}
        return self.money() | step

    def profile(self) -> Fields:
        """Draw some fields of a profile, some of them cleared."""
        rng = self._rng
        found: Fields = {
            "email": rng.choice((None, "Ada@Example.COM", "b@x.org")),
            "name": rng.choice((None, *NAMES)),
            "country": rng.choice((None, *COUNTRIES)),
            "birth_year": rng.choice((None, 1990)),
            "marketing_opt_in": rng.choice((None, True, False)),
        }
        return {name: value for name, value in found.items() if rng.random() < 0.5}

    def product(self) -> Fields:
        """Draw a product."""
        return {"product_id": self._one_of("p")}

    def listing(self) -> Fields:
        """Draw a product's entry in the catalogue."""
        rng = self._rng
        entry = {
            "name": rng.choice(NAMES),
            "category": "x",
            "price": self.amount(),
            "stock": rng.randrange(9),
        }
        return self.product() | self.money() | entry

    def log(self) -> Fields:
        """Draw a line of a log."""
        rng = self._rng
        line: Fields = {"service": self._one_of("service"), "level": "info", "message": rng.choice(NAMES)}
        return line | rng.choice(
            ({}, {"latency_ms": rng.random() * 100, "status_code": 200, "trace_id": "t"})
        )

    def quantity(self) -> Fields:
        """Draw a product, perhaps with how many."""
        return self.product() | self._rng.choice(({}, {"quantity": self._rng.randrange(1, 5)}))


_OF_CUSTOMERS = frozenset(
    {
        *("signup", "login", "logout", "profile_updated", "account_deleted"),
        *("purchase", "refund", "subscription_started", "subscription_cancelled"),
    }
)
_SPECIFIC: dict[str, Callable[[World], Fields]] = {
    "log": World.log,
    "product_listed": World.listing,
    "product_delisted": World.product,
    "product_viewed": World.product,
    "product_searched": lambda world: {"query": world.log()["message"]},
    "product_reviewed": lambda world: world.product() | {"rating": 3},
    "cart_added": World.quantity,
    "cart_removed": World.quantity,
    "purchase": World.purchase,
    "refund": World.refund,
    "subscription_started": World.subscription,
    "subscription_cancelled": World.subscription,
    "signup": lambda world: world.profile() | {"email": "Signed.Up@example.org"},
    "profile_updated": World.profile,
}
