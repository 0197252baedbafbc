"""What the shop sells: products with prices and stock that change, some that come and go."""

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from producer.shop.draws import MINUTE, Weighted, draw_uuid, instant, seeded
from streams.events import Event, ProductDelisted, ProductListed

CATEGORIES: Final = Weighted(
    [
        (("shoes", 45.0, 160.0, ("Trail Runner", "Court Sneaker", "Chelsea Boot", "Loafer")), 18),
        (("clothing", 15.0, 110.0, ("Merino Sweater", "Oxford Shirt", "Rain Jacket", "Tapered Jeans")), 26),
        (("accessories", 8.0, 60.0, ("Canvas Belt", "Wool Scarf", "Tote Bag", "Cap")), 16),
        (("home", 12.0, 190.0, ("Linen Duvet", "Table Lamp", "Ceramic Vase", "Oak Stool")), 14),
        (("kitchen", 9.0, 130.0, ("Chef's Knife", "Cast Iron Pan", "Pour-over Set", "Mixing Bowls")), 12),
        (("electronics", 25.0, 380.0, ("Wireless Earbuds", "Smart Plug", "Desk Speaker", "E-reader")), 9),
        (("beauty", 6.0, 70.0, ("Face Serum", "Hand Balm", "Shampoo Bar", "Sun Cream")), 5),
    ]
)
_STYLES: Final = ("Classic", "Nordic", "Urban", "Alpine", "Coastal", "Studio", "Heritage", "Mini")
_ENDINGS: Final = (Decimal("0.99"), Decimal("0.95"), Decimal("0.50"), Decimal("0.00"))


@dataclass
class Product:
    """A product as it stands; prices in US dollars. `weight` is how much it is asked for."""

    product_id: str
    name: str
    category: str
    price: Decimal
    stock: int
    weight: float
    is_listed: bool = True


def make_product(seed: int, number: int) -> Product:
    """Make the product of that number: the same in every run with the seed."""
    rng = seeded(seed, "product", number)
    category, low, high, names = CATEGORIES.draw(rng)
    price = Decimal(int(low * (high / low) ** rng.random())) + rng.choice(_ENDINGS)
    return Product(
        product_id=f"p-{seed}-{number:04d}",
        name=f"{rng.choice(_STYLES)} {rng.choice(names)}",
        category=category,
        price=price,
        stock=rng.randrange(20, 400),
        weight=1 / (number + 3) ** 0.7,
    )


class Catalogue:
    """The products, changing over the history.

    Args:
        rng: the shop's generator.
        seed: names the products.
        size: how many there are at the start.
        start: seconds since 1970.
        end: likewise.
    """

    def __init__(self, rng: random.Random, seed: int, size: int, start: float, end: float) -> None:
        self._rng = rng
        span = end - start
        self.products = [make_product(seed, number) for number in range(size)]
        opening = min(5 * MINUTE, span / 50)
        self._plan: list[tuple[float, str, Product]] = [
            (start + opening * index / size, "list", product) for index, product in enumerate(self.products)
        ]
        for kind, share in (("reprice", 0.5), ("restock", 0.5), ("delist", 0.08), ("add", 0.1)):
            for _ in range(max(1, round(size * share))):
                at = rng.uniform(start + 0.1 * span, end - 0.05 * span)
                product = rng.choice(self.products)
                if kind == "add":
                    product = make_product(seed, len(self.products))
                    product.is_listed = False
                    self.products.append(product)
                self._plan.append((at, kind, product))
        self._plan.sort(key=lambda change: change[0], reverse=True)
        self._draw = self._weights()

    def _weights(self) -> Weighted[Product]:
        return Weighted([(p, p.weight) for p in self.products if p.is_listed])

    def draw(self) -> Product:
        """Draw a product that is on sale, as often as it is asked for."""
        return self._draw.draw(self._rng)

    def changes_until(self, until: float) -> list[tuple[float, Event]]:
        """Make the changes before an instant; give their events."""
        events: list[tuple[float, Event]] = []
        while self._plan and self._plan[-1][0] < until:
            at, kind, product = self._plan.pop()
            event = self._change(at, kind, product)
            if event is not None:
                events.append((at, event))
        if events:
            self._draw = self._weights()
        return events

    def _change(self, at: float, kind: str, product: Product) -> Event | None:
        rng = self._rng
        if kind == "delist":
            on_sale = sum(p.is_listed for p in self.products)
            if not product.is_listed or on_sale < 3:
                return None
            product.is_listed = False
            return ProductDelisted(
                event_id=draw_uuid(rng), occurred_at=instant(at), product_id=product.product_id
            )
        if kind == "reprice":
            factor = Decimal(str(rng.choice((0.8, 0.85, 0.9, 1.05, 1.1))))
            product.price = (product.price * factor).quantize(Decimal("0.01"))
        elif kind == "restock":
            product.stock = rng.randrange(0, 500)
        if kind in ("add", "list"):
            product.is_listed = True
        elif not product.is_listed:
            return None
        return ProductListed(
            event_id=draw_uuid(rng),
            occurred_at=instant(at),
            product_id=product.product_id,
            name=product.name,
            category=product.category,
            price=product.price,
            currency="USD",
            stock=product.stock,
        )
