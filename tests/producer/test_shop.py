from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.shop.agents import ROBOTS
from producer.shop.draws import DAY, seeded
from producer.shop.traffic import load_at
from producer.shop.world import ShopConfig, shop_events
from streams.events import (
    STREAM_OF_TYPE,
    AccountDeleted,
    Event,
    Log,
    Login,
    ProductListed,
    Purchase,
    Refund,
    SubscriptionCancelled,
    SubscriptionRenewed,
    SubscriptionStarted,
    event_type_of,
)

END = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
GAP = timedelta(minutes=30)


def shop(seed: int = 7, count: int = 20_000, days: float = 180, customers: int = 100) -> list[Event]:
    return list(
        shop_events(
            ShopConfig(seed=seed, tag="t", count=count, start=END - days * DAY, end=END, customers=customers)
        )
    )


@pytest.fixture(scope="module", params=[1, 2, 3])
def events(request: pytest.FixtureRequest) -> list[Event]:
    return shop(seed=request.param)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 3000),
    days=st.floats(0.01, 800),
    customers=st.integers(1, 100),
)
def test_there_are_exactly_as_many_events_as_asked_for(
    seed: int, count: int, days: float, customers: int
) -> None:
    made = shop(seed, count, days, customers)
    assert len(made) == count
    assert all(a.occurred_at <= b.occurred_at for a, b in pairwise(made))
    assert all(END - days * DAY - 1 <= e.occurred_at.timestamp() <= END for e in made)


def test_the_same_seed_makes_the_same_events_and_another_makes_others() -> None:
    first, again, other = shop(1, 2000), shop(1, 2000), shop(2, 2000)
    assert first == again
    assert not {e.event_id for e in first} & {e.event_id for e in other}
    assert not {e.customer_id for e in first if e.customer_id} & {e.customer_id for e in other}


def test_ids_are_used_once(events: list[Event]) -> None:
    assert len({e.event_id for e in events}) == len(events)
    orders = [e.order_id for e in events if isinstance(e, Purchase)]
    assert len(set(orders)) == len(orders)
    started = [e.subscription_id for e in events if isinstance(e, SubscriptionStarted)]
    assert len(set(started)) == len(started)


def test_every_type_of_event_happens(events: list[Event]) -> None:
    assert {event_type_of(type(e)) for e in events} == set(STREAM_OF_TYPE)


def test_a_history_reaches_its_end(events: list[Event]) -> None:
    assert END - events[-1].occurred_at.timestamp() < DAY


def test_some_of_a_hundred_visits_end_with_an_order(events: list[Event]) -> None:
    last: dict[str, datetime] = {}
    visits = orders = 0
    robots = {robot.text for robot in ROBOTS}
    for event in events:
        visitor = event.customer_id or event.anonymous_id
        is_bot = event.context is not None and event.context.user_agent in robots
        if visitor is None or isinstance(event, Log | ProductListed) or is_bot:
            continue
        visits += visitor not in last or event.occurred_at - last[visitor] > GAP
        last[visitor] = event.occurred_at
        orders += isinstance(event, Purchase)
    assert 0.02 <= orders / visits <= 0.04


def test_customers_order_again(events: list[Event]) -> None:
    orders = Counter(e.customer_id for e in events if isinstance(e, Purchase))
    assert sum(n > 1 for n in orders.values()) >= 0.15 * len(orders)
    assert sum(n == 1 for n in orders.values()) >= 0.3 * len(orders)


def test_amounts_are_what_the_items_cost(events: list[Event]) -> None:
    for event in events:
        if isinstance(event, Purchase):
            total = sum((i.quantity * i.unit_price for i in event.items), Decimal(0))
            assert event.amount == total - (event.discount or 0)
            assert event.amount >= 0
            assert (event.coupon is None) == (event.discount is None)


def test_refunds_are_of_earlier_orders_and_never_of_more(events: list[Event]) -> None:
    left: dict[str, Purchase] = {}
    refunded: dict[str, Decimal] = defaultdict(Decimal)
    full = partly = 0
    for event in events:
        if isinstance(event, Purchase):
            left[event.order_id] = event
        if isinstance(event, Refund):
            order = left[event.order_id]
            assert (event.customer_id, event.currency) == (order.customer_id, order.currency)
            refunded[event.order_id] += event.amount
            assert Decimal(0) < refunded[event.order_id] <= order.amount
            full += event.amount == order.amount
            partly += event.amount < order.amount
    assert full
    assert partly


def test_subscriptions_start_before_they_go_on_and_end_once(events: list[Event]) -> None:
    open_ones: set[str] = set()
    for event in events:
        if isinstance(event, SubscriptionStarted):
            open_ones.add(event.subscription_id)
        elif isinstance(event, SubscriptionRenewed):
            assert event.subscription_id in open_ones
        elif isinstance(event, SubscriptionCancelled):
            open_ones.remove(event.subscription_id)


def test_nothing_is_heard_of_a_deleted_customer(events: list[Event]) -> None:
    deleted: set[str] = set()
    for event in events:
        assert event.customer_id not in deleted
        if isinstance(event, AccountDeleted):
            deleted.add(event.customer_id)
    assert deleted


def test_logins_link_devices_some_of_which_two_customers_share() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    devices: dict[str, set[str]] = defaultdict(set)
    for event in shop(5, 40_000, customers=200):
        if isinstance(event, Login) and event.anonymous_id:
            owners[event.anonymous_id].add(event.customer_id)
            devices[event.customer_id].add(event.anonymous_id)
    assert any(len(customers) > 1 for customers in owners.values())
    assert any(len(used) > 1 for used in devices.values())


def test_nights_are_quiet_and_incidents_loud(events: list[Event]) -> None:
    hours = Counter(e.occurred_at.hour for e in events)
    assert max(hours.values()) > 2 * min(hours.values())
    logs = [e for e in events if isinstance(e, Log)]
    errors = Counter(e.occurred_at.date() for e in logs if e.level in ("error", "critical"))
    assert max(errors.values()) >= 3


def test_load_is_about_one_on_average() -> None:
    start = datetime(2026, 2, 2, tzinfo=UTC).timestamp()
    week = [load_at(start + hour * 3600, start) for hour in range(7 * 24)]
    assert 0.95 < sum(week) / len(week) < 1.1


def test_draws_by_name_do_not_depend_on_the_process() -> None:
    assert seeded(1, "customer", 2).random() == seeded(1, "customer", 2).random()
    assert seeded(1, "customer", 2).random() != seeded(1, "customer", 3).random()
