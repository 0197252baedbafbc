"""A visit to the shop, step by step: what one visitor does between coming and going."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from producer.shop.agents import PEOPLE
from producer.shop.catalogue import Catalogue, Product
from producer.shop.draws import HOUR, MINUTE, draw_uuid, instant
from producer.shop.marketing import SHOP, Source
from producer.shop.places import Country, in_currency, smallest_unit
from producer.shop.population import Customer
from streams.events import (
    CartAdded,
    CartRemoved,
    CheckoutStarted,
    Context,
    CustomerEvent,
    Event,
    InteractionEvent,
    Item,
    Login,
    Logout,
    PageViewed,
    ProductReviewed,
    ProductSearched,
    ProductViewed,
    Purchase,
    Signup,
)

Push = Callable[[float, Event], None]

PAGES: Final = ("/", "/sale", "/new", "/category/shoes", "/category/clothing", "/about", "/delivery", "/help")
SEARCHES: Final = (
    "running shoes",
    "rain jacket",
    "gift",
    "lamp",
    "earbuds",
    "knife",
    "scarf",
    "linen",
    "serum",
)
COUPONS: Final = (("WELCOME10", Decimal("0.10")), ("SPRING15", Decimal("0.15")), ("VIP20", Decimal("0.20")))


class Visit:
    """A visit under way. Each step moves its clock and hands an event to `push`.

    Args:
        rng: the shop's generator.
        push: takes each event with its instant.
        catalogue: what is on sale.
        at: when it begins, seconds since 1970.
        country: where the visitor is.
        source: how the visitor came.
        device: the visitor's `anonymous_id`, None if the browser keeps none.
        customer: who it is, if known from the first page on.
    """

    def __init__(
        self,
        rng: random.Random,
        push: Push,
        catalogue: Catalogue,
        *,
        at: float,
        country: Country,
        source: Source,
        device: str | None,
        customer: Customer | None = None,
    ) -> None:
        self.rng = rng
        self.at = at
        self.device = device
        self.customer_id = customer.customer_id if customer else None
        self.cart: list[tuple[Product, int]] = []
        self._push = push
        self._catalogue = catalogue
        self._country = country
        # A device keeps its browser.
        self._user_agent = PEOPLE.draw(random.Random(device) if device else rng).text
        self._ip = f"198.51.{rng.randrange(100, 104)}.{rng.randrange(1, 255)}"
        self._source: Source | None = source
        self._referrer = rng.choice(source.referrers) if source.referrers else None

    def _context(self, path: str) -> Context:
        """Give the context of the next page; only the first one carries the marks of its source."""
        context = Context(
            page_url=SHOP + path,
            referrer=self._referrer,
            user_agent=self._user_agent,
            ip=self._ip,
            country=self._country.code,
        )
        source = self._source
        if source is not None and source.utm_medium is not None:
            context.utm_source = source.utm_source
            context.utm_medium = source.utm_medium
            context.utm_campaign = source.campaign
            context.page_url = f"{SHOP}{path}?utm_source={source.utm_source}&utm_campaign={source.campaign}"
        self._source = None
        self._referrer = SHOP + path
        return context

    def _emit(self, event_class: type[InteractionEvent | CustomerEvent], path: str, **fields: Any) -> None:
        fields.setdefault("customer_id", self.customer_id)
        self._push(
            self.at,
            event_class(
                event_id=draw_uuid(self.rng),
                occurred_at=instant(self.at),
                anonymous_id=self.device,
                context=self._context(path),
                **fields,
            ),
        )
        self._pause()

    def _pause(self) -> None:
        """Let the visitor read: mostly seconds, now and then long enough to cut the session."""
        rng = self.rng
        chance = rng.random()
        if chance > 0.02:
            self.at += 2 + rng.lognormvariate(3.1, 0.8)
        elif chance > 0.005:
            self.at += rng.uniform(3, 25) * MINUTE
        else:
            self.at += rng.uniform(0.5, 2) * HOUR

    def page(self) -> None:
        """View some page."""
        self._emit(PageViewed, self.rng.choice(PAGES))

    def search(self) -> None:
        """Search the catalogue."""
        query = self.rng.choice(SEARCHES)
        self._emit(ProductSearched, f"/search?q={query.replace(' ', '+')}", query=query)

    def product(self, product: Product | None = None) -> Product:
        """View a product's page."""
        product = product or self._catalogue.draw()
        self._emit(ProductViewed, f"/product/{product.product_id}", product_id=product.product_id)
        return product

    def add_to_cart(self, product: Product, quantity: int = 1) -> None:
        """Put a product into the cart."""
        self.cart.append((product, quantity))
        path = f"/product/{product.product_id}"
        self._emit(CartAdded, path, product_id=product.product_id, quantity=quantity)

    def remove_from_cart(self) -> None:
        """Take the last product out again."""
        product, quantity = self.cart.pop()
        self._emit(CartRemoved, "/cart", product_id=product.product_id, quantity=quantity)

    def look_around(self, steps: int) -> None:
        """Take some steps that end without an order."""
        rng = self.rng
        for _ in range(steps):
            chance = rng.random()
            if chance < 0.27:
                self.page()
            elif chance < 0.42:
                self.search()
            else:
                product = self.product()
                if rng.random() < 0.13:
                    self.add_to_cart(product)
                    if rng.random() < 0.15:
                        self.remove_from_cart()
        if self.cart and rng.random() < 0.35:
            self._emit(CheckoutStarted, "/checkout")

    def sign_up(self, customer: Customer) -> None:
        """Open an account; the visitor is known from here."""
        fields: dict[str, Any] = {"customer_id": customer.customer_id, "email": customer.email}
        fields |= {"name": customer.name, "country": customer.country.code}
        if self.rng.random() < 0.5:
            fields["birth_year"] = customer.birth_year
        fields["marketing_opt_in"] = self.rng.random() < 0.6
        self._emit(Signup, "/account/new", **fields)
        self.customer_id = customer.customer_id

    def log_in(self, customer: Customer) -> None:
        """Log in; links the device to the customer."""
        self._emit(Login, "/account/login", customer_id=customer.customer_id)
        self.customer_id = customer.customer_id

    def log_out(self) -> None:
        """Log out: the visitor is a stranger again."""
        self._emit(Logout, "/account/logout")
        self.customer_id = None

    def review(self, product_id: str) -> None:
        """Rate a product."""
        rating = self.rng.choice((1, 2, 3, 4, 4, 5, 5, 5))
        self._emit(ProductReviewed, f"/product/{product_id}/review", product_id=product_id, rating=rating)

    def order(self, customer: Customer, order_id: str) -> Purchase:
        """Fill the cart, go to pay and pay; the visitor must be known."""
        rng = self.rng
        for _ in range(1 + (rng.random() < 0.4) + (rng.random() < 0.2)):
            product = self.product()
            self.add_to_cart(product, max(1, round(customer.generosity * rng.lognormvariate(0, 0.4))))
        self._emit(CheckoutStarted, "/checkout")
        currency = customer.country.currency
        items = [
            Item(
                product_id=product.product_id,
                category=product.category,
                quantity=quantity,
                unit_price=in_currency(product.price, currency),
            )
            for product, quantity in self.cart
        ]
        total = sum((item.quantity * item.unit_price for item in items), Decimal(0))
        coupon = discount = None
        if rng.random() < (0.3 if customer.orders == 0 else 0.12):
            coupon, share = COUPONS[0] if customer.orders == 0 else rng.choice(COUPONS[1:])
            discount = (total * share).quantize(smallest_unit(currency))
        customer.orders += 1
        self.cart = []
        purchase = Purchase(
            event_id=draw_uuid(rng),
            occurred_at=instant(self.at),
            customer_id=customer.customer_id,
            anonymous_id=self.device,
            context=self._context("/checkout/done"),
            order_id=order_id,
            amount=total - (discount or Decimal(0)),
            currency=currency,
            items=items,
            payment_method=rng.choice(customer.payment_methods),
            coupon=coupon,
            discount=discount,
        )
        self._push(self.at, purchase)
        self._pause()
        return purchase
