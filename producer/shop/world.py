"""The shop over time: plans what happens hour by hour, so that exactly the wanted number of events comes out.

The history is cut into short slices. In each, what customers had planned comes first; strangers, robots and
logs fill what is left of the slice's share of the events, which follows the load of the day. What a visit
starts may reach into later slices: events wait in a heap, so memory holds only what is under way.
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Final

from producer.shop.agents import PRETENDER, ROBOTS
from producer.shop.catalogue import Catalogue
from producer.shop.draws import DAY, HOUR, draw_poisson, draw_uuid, instant
from producer.shop.logs import draw_log, incident_at, plan_incidents
from producer.shop.marketing import SHOP, draw_source
from producer.shop.places import COUNTRIES, smallest_unit
from producer.shop.population import Appointment, Customer, PopulationPlan, plan_population
from producer.shop.subscriptions import subscription_events
from producer.shop.traffic import is_open_hour, load_at
from producer.shop.visits import Visit
from streams.events import (
    AccountDeleted,
    Context,
    Event,
    PageViewed,
    ProductViewed,
    ProfileUpdated,
    Purchase,
    Refund,
)

LOG_SHARE: Final = 0.13
BOT_SHARE: Final = 0.03
EVENTS_PER_BOT: Final = 35
EVENTS_PER_VISIT: Final = 3.9
CONVERSION: Final = 0.033
CUSTOMER_VISITS: Final = 0.2
REFUND_EVERY: Final = 13
BURST: Final = 60
"""Lines that an incident adds to the logs, at most."""


@dataclass(frozen=True)
class ShopConfig:
    """What history to make.

    Args:
        seed: of everything; ids of customers, devices and products carry it.
        tag: ids of orders, subscriptions and visitors carry it too; draws depend on it.
        count: number of events, exactly.
        start: seconds since 1970.
        end: likewise; no event is at or after it.
        customers: how many there are.
        known_share: how many of them had signed up before the start.
    """

    seed: int
    tag: str
    count: int
    start: float
    end: float
    customers: int
    known_share: float = 0.15


def shop_events(config: ShopConfig) -> Iterator[Event]:
    """Give the shop's events in the order they happened; the same for the same configuration."""
    return _World(config).run()


class _World:
    def __init__(self, config: ShopConfig) -> None:
        self._config = config
        self._rng = rng = random.Random(repr(config))
        self._heap: list[tuple[float, int, Event]] = []
        self._planned = 0
        self._names = 0
        self._orders = 0
        self._strangers: list[str] = []
        span = config.end - config.start
        size = max(6, min(400, config.count // 250))
        self._catalogue = Catalogue(rng, config.seed, size, config.start, config.end)
        self._incidents = plan_incidents(rng, config.start, config.end)
        visits = config.count * (1 - LOG_SHARE - BOT_SHARE) / EVENTS_PER_VISIT
        self._appointments = plan_population(
            rng,
            PopulationPlan(
                seed=config.seed,
                tag="" if config.known_share < 0.5 else config.tag,
                customers=config.customers,
                known_share=config.known_share,
                orders=visits * CONVERSION,
                visits=visits * CUSTOMER_VISITS,
                start=config.start,
                end=config.end,
            ),
        )
        slices = max(100, min(200_000, int(span // HOUR)))
        self._width = span / slices
        self._loads = [load_at(config.start + (n + 0.5) * self._width, config.start) for n in range(slices)]

    def run(self) -> Iterator[Event]:
        config = self._config
        left, goal, per_load = config.count, 0.0, config.count / sum(self._loads)
        for number, load in enumerate(self._loads):
            begin = config.start + number * self._width
            last = number == len(self._loads) - 1
            end = config.end if last else begin + self._width
            share = load * per_load
            goal = config.count if last else goal + share
            self._fill(begin, end, goal, share, load, last=last)
            while self._heap and self._heap[0][0] < end:
                yield heapq.heappop(self._heap)[2]
                left -= 1
                if not left:
                    return

    def _fill(self, begin: float, end: float, goal: float, share: float, load: float, *, last: bool) -> None:
        """Plan what begins in a slice.

        Args:
            begin: of the slice.
            end: likewise.
            goal: how many events shall have been planned by its end, since the start of the history.
            share: how many of them are this slice's.
            load: how busy the shop is.
            last: whether the goal must be met exactly.
        """
        rng = self._rng
        for at, event in self._catalogue.changes_until(end):
            self._push(at, event)
        while self._appointments and self._appointments[-1].at < end:
            self._keep(self._appointments.pop())
        for _ in range(draw_poisson(rng, share * LOG_SHARE)):
            self._log(rng.uniform(begin, end), load)
        self._burst(begin, end, load)
        for _ in range(draw_poisson(rng, share * BOT_SHARE / EVENTS_PER_BOT)):
            self._bot(rng.uniform(begin, end))
        # A visit is begun when a whole one is missing, by chance when part of one is: the error evens out.
        while self._planned + EVENTS_PER_VISIT * rng.random() < goal:
            if last and goal - self._planned < EVENTS_PER_VISIT:
                break
            self._stranger(rng.uniform(begin, end))
        while last and self._planned < self._config.count:
            self._log(rng.uniform(begin, end), load)

    def _push(self, at: float, event: Event) -> None:
        if at < self._config.end:
            self._planned += 1
            heapq.heappush(self._heap, (at, self._planned, event))

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}-{self._config.seed}-{self._config.tag}-{self._names}"

    def _log(self, at: float, load: float) -> None:
        self._push(at, draw_log(self._rng, at, load, incident_at(self._incidents, at)))

    def _burst(self, begin: float, end: float, load: float) -> None:
        """Log more than usual in the incidents that begin in a slice."""
        for incident in self._incidents:
            if begin <= incident.start < end:
                for _ in range(min(BURST, 2 + self._config.count // 1000)):
                    self._log(self._rng.uniform(incident.start, incident.end), load)

    def _stranger(self, at: float) -> None:
        rng = self._rng
        country = COUNTRIES.draw(rng)
        for _ in range(4):
            if is_open_hour(rng, at, country.utc_offset):
                break
            country = COUNTRIES.draw(rng)
        if self._strangers and rng.random() < 0.2:
            device = rng.choice(self._strangers)
        else:
            device = self._name("a")
            if len(self._strangers) < 5000:
                self._strangers.append(device)
            else:
                self._strangers[rng.randrange(5000)] = device
        visit = Visit(
            rng,
            self._push,
            self._catalogue,
            at=at,
            country=country,
            source=draw_source(rng, known=False),
            device=device,
        )
        bounced = rng.random() < 0.33
        visit.look_around(1 if bounced else 2 + int(rng.expovariate(1 / 3.2)))

    def _bot(self, at: float) -> None:
        rng = self._rng
        agent, bot = rng.choice(ROBOTS), self._name("a")
        # Who pretends to be a person is given away by the pace: dozens of pages, several a second.
        pages = rng.randrange(55, 80) if agent is PRETENDER else rng.randrange(10, 40)
        for _ in range(pages):
            product = self._catalogue.draw()
            path = f"/product/{product.product_id}" if rng.random() < 0.8 else "/"
            context = Context(page_url=SHOP + path, user_agent=agent.text, ip="203.0.113.7", country="US")
            event_id, occurred_at = draw_uuid(rng), instant(at)
            if path == "/":
                self._push(
                    at,
                    PageViewed(event_id=event_id, occurred_at=occurred_at, anonymous_id=bot, context=context),
                )
            else:
                self._push(
                    at,
                    ProductViewed(
                        event_id=event_id,
                        occurred_at=occurred_at,
                        anonymous_id=bot,
                        context=context,
                        product_id=product.product_id,
                    ),
                )
            at += rng.uniform(0.05, 0.6)

    def _keep(self, appointment: Appointment) -> None:
        customer, at, rng = appointment.customer, appointment.at, self._rng
        if appointment.errand == "profile":
            self._update_profile(customer, at)
        elif appointment.errand == "delete":
            self._push(
                at,
                AccountDeleted(
                    event_id=draw_uuid(rng), occurred_at=instant(at), customer_id=customer.customer_id
                ),
            )
        elif appointment.errand == "subscribe":
            for due, event in subscription_events(rng, customer, self._name("s"), at, self._config.end):
                self._push_for(customer, due, event)
        else:
            self._visit(appointment)

    def _push_for(self, customer: Customer, at: float, event: Event) -> None:
        """Push what a customer does later, unless the account is gone by then."""
        if customer.deleted_at is None or at < customer.deleted_at:
            self._push(at, event)

    def _update_profile(self, customer: Customer, at: float) -> None:
        rng = self._rng
        event = ProfileUpdated(
            event_id=draw_uuid(rng), occurred_at=instant(at), customer_id=customer.customer_id
        )
        chance = rng.random()
        if chance < 0.4:
            event.marketing_opt_in = rng.random() < 0.4
        elif chance < 0.7:
            event.email = customer.email.replace("@", f"+{rng.randrange(100)}@")
        elif chance < 0.9:
            event.name = f"{customer.name.split()[0]} {rng.choice('ABCDEFGH')}. {customer.name.split()[-1]}"
        else:
            event.birth_year = None
        self._push_for(customer, at, event)

    def _visit(self, appointment: Appointment) -> None:
        customer, rng = appointment.customer, self._rng
        signs_up = appointment.errand == "signup"
        known = not signs_up and rng.random() < 0.55
        visit = Visit(
            rng,
            lambda at, event: self._push_for(customer, at, event),
            self._catalogue,
            at=appointment.at,
            country=customer.country,
            source=draw_source(rng, known=not signs_up),
            device=customer.devices[0] if signs_up else rng.choice(customer.devices),
            customer=customer if known else None,
        )
        orders = appointment.errand == "order" or (signs_up and customer.orders < 0)
        customer.orders = max(0, customer.orders)
        visit.look_around(1 + int(rng.expovariate(1 / 2.0)))
        if signs_up:
            visit.sign_up(customer)
        elif not known and (orders or rng.random() < 0.6):
            visit.log_in(customer)
        if orders:
            purchase = visit.order(customer, self._name("o"))
            self._after_order(customer, purchase, visit.at)
        if visit.customer_id and rng.random() < 0.12:
            visit.log_out()

    def _after_order(self, customer: Customer, purchase: Purchase, at: float) -> None:
        """Plan refunds and reviews of an order."""
        rng = self._rng
        scale = min(1.0, (self._config.end - self._config.start) / (90 * DAY))
        self._orders += 1
        if self._orders % REFUND_EVERY == 1 or (customer.is_risky and rng.random() < 0.6):
            parts = [purchase.amount]
            if rng.random() < 0.4:
                share = Decimal(str(rng.choice((0.2, 0.25, 0.5))))
                part = (purchase.amount * share).quantize(smallest_unit(purchase.currency), ROUND_DOWN)
                parts = [part] if rng.random() < 0.7 else [part, part]
            due = at
            for part in parts:
                due += rng.uniform(0.5, 12) * DAY * scale
                if part > 0:
                    self._push_for(customer, due, self._refund(purchase, part, due))
        if rng.random() < 0.2:
            visit = Visit(
                rng,
                lambda at, event: self._push_for(customer, at, event),
                self._catalogue,
                at=at + rng.uniform(2, 15) * DAY * scale,
                country=customer.country,
                source=draw_source(rng, known=True),
                device=rng.choice(customer.devices),
                customer=customer,
            )
            visit.page()
            visit.review(rng.choice(purchase.items).product_id)

    def _refund(self, purchase: Purchase, amount: Decimal, at: float) -> Refund:
        return Refund(
            event_id=draw_uuid(self._rng),
            occurred_at=instant(at),
            customer_id=purchase.customer_id,
            order_id=purchase.order_id,
            amount=amount,
            currency=purchase.currency,
        )
