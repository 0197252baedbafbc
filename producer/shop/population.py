"""The shop's customers and their lives: when they sign up, order, look around, subscribe and leave.

Orders follow the story that buy-till-you-die models tell: each customer orders at a rate of their own
(gamma), and after each order stops for good with a chance of their own (beta).
"""

import math
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

from faker import Faker

from producer.shop.draws import DAY, HOUR, draw_poisson, seeded
from producer.shop.places import COUNTRIES, Country
from producer.shop.traffic import in_the_day

Errand = Literal["signup", "order", "browse", "profile", "delete", "subscribe"]

FIRST_ORDER_SHARE: Final = 0.75
SUBSCRIBER_SHARE: Final = 0.16
DELETED_SHARE: Final = 0.012
RISKY_SHARE: Final = 0.02
SHARED_DEVICE_EVERY: Final = 33
_MAX_ORDERS: Final = 200


@dataclass
class Customer:
    """A customer. `generosity` multiplies what they put into a basket; instants are seconds since 1970."""

    customer_id: str
    country: Country
    name: str
    email: str
    birth_year: int
    devices: list[str]
    payment_methods: list[str]
    generosity: float
    is_risky: bool
    signup_at: float = 0.0
    orders: int = 0
    deleted_at: float | None = None


@dataclass(order=True)
class Appointment:
    """Something that a customer will come for."""

    at: float
    number: int
    customer: Customer = field(compare=False)
    errand: Errand = field(compare=False)


@cache
def _names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    faker = Faker("en_US")
    faker.seed_instance(1)
    return tuple(faker.first_name() for _ in range(400)), tuple(faker.last_name() for _ in range(600))


def make_customer(seed: int, label: str) -> Customer:
    """Make the customer of that label: the same in every run with the seed."""
    rng = seeded(seed, "customer", label)
    firsts, lasts = _names()
    first, last = rng.choice(firsts), rng.choice(lasts)
    customer_id = f"c-{seed}-{label}"
    devices = [f"d-{seed}-{label}-{n}" for n in range(1 + (rng.random() < 0.35) + (rng.random() < 0.12))]
    number = label.rsplit("-", 1)[-1]
    if int(number) % SHARED_DEVICE_EVERY == SHARED_DEVICE_EVERY - 1:
        devices.append(f"d-{seed}-{label.removesuffix(number)}{int(number) - 1}-0")
    mail = rng.choice(("example.com", "example.net", "example.org"))
    is_risky = rng.random() < RISKY_SHARE
    methods = ["card", "paypal", "invoice", "apple_pay", "klarna", "gift_card"]
    return Customer(
        customer_id=customer_id,
        country=COUNTRIES.draw(rng),
        name=f"{first} {last}",
        email=f"{first}.{last}.{seed}.{label}@{mail}".lower(),
        birth_year=rng.randrange(1950, 2006),
        devices=devices,
        payment_methods=rng.sample(methods, 4)
        if is_risky
        else rng.sample(methods, 1 + (rng.random() < 0.25)),
        generosity=rng.gammavariate(3.0, 1 / 3.0),
        is_risky=is_risky,
    )


@dataclass(frozen=True)
class PopulationPlan:
    """What the customers shall amount to.

    Args:
        seed: names the customers.
        tag: names those that are new in this run beside known ones.
        customers: how many.
        known_share: how many of them had signed up before the start.
        orders: how many orders they place, together, as near as their lives allow.
        visits: how many further visits they make, about.
        start: seconds since 1970.
        end: likewise.
    """

    seed: int
    tag: str
    customers: int
    known_share: float
    orders: float
    visits: float
    start: float
    end: float


@dataclass
class _Life:
    customer: Customer
    first_at: float
    """When the first order is due; after the end if never."""
    gaps: list[float]
    """Between orders, for a rate of one in the whole history."""

    def orders(self, pace: float, shortest: float, end: float) -> list[float]:
        at, found = self.first_at, []
        for gap in [0.0, *self.gaps]:
            at += max(gap / pace, shortest) if gap else 0.0
            if at >= end:
                break
            found.append(at)
        return found


def plan_population(rng: random.Random, plan: PopulationPlan) -> list[Appointment]:
    """Plan the customers' lives; give their appointments, latest first."""
    known = round(plan.customers * plan.known_share)
    lives = [_draw_life(rng, plan, number, known) for number in range(plan.customers)]
    pace = _find_pace(lives, plan)
    deleted = max(1, round(plan.customers * DELETED_SHARE))
    appointments: list[Appointment] = []
    for number, life in enumerate(lives):
        is_deleted = number % (plan.customers // deleted) == 0
        subscribes = number % 17 == 3 or rng.random() < SUBSCRIBER_SHARE
        for at, errand in _errands(rng, plan, life, pace=pace, is_deleted=is_deleted, subscribes=subscribes):
            appointments.append(Appointment(at, len(appointments), life.customer, errand))
    appointments.sort(reverse=True)
    return appointments


def _errands(
    rng: random.Random,
    plan: PopulationPlan,
    life: _Life,
    *,
    pace: float,
    is_deleted: bool,
    subscribes: bool,
) -> list[tuple[float, Errand]]:
    """Plan what one customer comes for within the history, as long as the account lasts."""
    customer, span = life.customer, plan.end - plan.start
    begin = max(plan.start, customer.signup_at)
    ahead = plan.end - begin
    orders = _at_fair_hours(rng, life.orders(pace, _shortest_gap(plan), plan.end), customer, plan)
    leave = min(plan.end, (orders[-1] if orders else begin) + rng.expovariate(1 / (0.35 * span)))
    visits = draw_poisson(
        rng,
        1.8 * plan.visits / plan.customers * rng.gammavariate(1.5, 1 / 1.5) * (leave - begin) / span,
    )
    browsing = _at_fair_hours(rng, [rng.uniform(begin, leave) for _ in range(visits)], customer, plan)
    errands: list[tuple[float, Errand]] = [(customer.signup_at, "signup")]
    errands += [(at, "order") for at in orders if at > customer.signup_at]
    errands += [(at, "browse") for at in browsing]
    errands += [
        (rng.uniform(begin, plan.end), "profile") for _ in range(draw_poisson(rng, 0.5 * ahead / span))
    ]
    if subscribes:
        errands.append((begin + rng.random() ** 2 * 0.8 * ahead, "subscribe"))
    if is_deleted:
        customer.deleted_at = rng.uniform(begin + 0.3 * ahead, plan.end)
        errands.append((customer.deleted_at, "delete"))
    last = plan.end if customer.deleted_at is None else customer.deleted_at
    return [(at, errand) for at, errand in errands if plan.start <= at <= last and at < plan.end]


def _shortest_gap(plan: PopulationPlan) -> float:
    return min(2 * HOUR, (plan.end - plan.start) / 200)


def _draw_life(rng: random.Random, plan: PopulationPlan, number: int, known: int) -> _Life:
    span = plan.end - plan.start
    label = str(number) if number < known or not plan.tag else f"{plan.tag}-{number - known}"
    customer = make_customer(plan.seed, label)
    if number < known:
        customer.signup_at = plan.start - rng.uniform(1, 200) * DAY
        first_at = plan.start + rng.expovariate(1.0) * span
    else:
        customer.signup_at = plan.start + 0.97 * span * rng.random() ** 1.1
        if span > 2 * DAY:
            at = in_the_day(rng, customer.signup_at, customer.country.utc_offset)
            customer.signup_at = at if plan.start <= at < plan.end else customer.signup_at
        first_share = min(FIRST_ORDER_SHARE, 0.6 * plan.orders / max(1, plan.customers))
        buys_at_once = rng.random() < first_share
        first_at = customer.signup_at + (0.0 if buys_at_once else rng.expovariate(1.0) * span)
        customer.orders = -1 if buys_at_once else 0
    rate, dropout = rng.gammavariate(1.3, 1 / 1.3), rng.betavariate(1.2, 3.6)
    gaps: list[float] = []
    while len(gaps) < _MAX_ORDERS and rng.random() > dropout:
        gaps.append(rng.expovariate(1.0) * span / rate)
    return _Life(customer, first_at, gaps)


def _find_pace(lives: list[_Life], plan: PopulationPlan) -> float:
    """Find how fast all must order for the wanted number of orders, by halving."""
    shortest = _shortest_gap(plan)
    low: float = 0.02
    high: float = 50.0
    for _ in range(18):
        pace = math.sqrt(low * high)
        orders = sum(len(life.orders(pace, shortest, plan.end)) for life in lives)
        low, high = (pace, high) if orders < plan.orders else (low, pace)
    return math.sqrt(low * high)


def _at_fair_hours(
    rng: random.Random, instants: list[float], customer: Customer, plan: PopulationPlan
) -> list[float]:
    """Move instants to hours people shop at, after the customer's signup; a short history stays as it is."""
    if plan.end - plan.start <= 2 * DAY:
        return sorted(instants)
    moved = []
    for at in instants:
        fair = in_the_day(rng, at, customer.country.utc_offset)
        lowest = max(plan.start, customer.signup_at + HOUR)
        moved.append(fair if at > customer.signup_at and lowest < fair < plan.end else at)
    return sorted(moved)
