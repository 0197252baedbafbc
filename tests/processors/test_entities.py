"""Customers, products and identities: merges, so any order, repetition and batches give the same."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

from builders import NOON, State, batch_of, event_id, minutes, run, visitor_event
from hypothesis import given
from hypothesis import strategies as st

from processors.customers import CustomersStage
from processors.identities import IdentitiesStage
from processors.products import ProductsStage
from streams.facts import CatalogueEvent, VisitorEvent, encode_fact
from streams.silver import Revision
from streams.topics import SILVER_CUSTOMERS

SECRET = b"secret"


def customer_event(number: int, event_type: str, offset: float = 0, **fields: Any) -> VisitorEvent:
    return visitor_event(
        number,
        NOON + minutes(offset),
        event_type=event_type,
        visitor_id="c-1",
        customer_id="c-1",
        **fields,
    )


def customers(*batches: list[VisitorEvent]) -> dict[str, dict[str, Any]]:
    stage, state, found = CustomersStage(SECRET), State(), {}
    for batch in batches:
        for output in run(stage, state, batch).outputs:
            assert output.topic == SILVER_CUSTOMERS
            assert output.key is not None
            found[output.key.decode()] = json.loads(output.value or b"")
    for record in found.values():
        del record["revision"]  # of the last batch, whichever that was
    return found


def customer(*events: VisitorEvent) -> dict[str, Any]:
    return customers(list(events))["c-1"]


def test_the_later_value_holds_field_by_field() -> None:
    found = customer(
        customer_event(1, "signup", 0, profile={"email": "Ada@Example.org", "name": "Ada", "country": "de"}),
        customer_event(3, "profile_updated", 9, profile={"name": "Ada L."}),
        customer_event(2, "profile_updated", 5, profile={"name": "A.", "marketing_opt_in": True}),
    )
    assert (found["email"], found["name"], found["country"]) == ("Ada@Example.org", "Ada L.", "DE")
    assert (found["email_domain"], found["marketing_opt_in"]) == ("example.org", True)
    assert len(found["email_hash"]) == 64


def test_null_clears_a_field() -> None:
    found = customer(
        customer_event(1, "signup", 0, profile={"email": "a@b.c", "name": "Ada"}),
        customer_event(2, "profile_updated", 1, profile={"name": None}),
    )
    assert "name" not in found


def test_equal_instants_are_decided_by_event_id() -> None:
    first = customer_event(1, "profile_updated", profile={"name": "one"})
    second = customer_event(2, "profile_updated", profile={"name": "two"})
    assert customer(first, second)["name"] == customer(second, first)["name"] == "two"


def test_a_deletion_ends_personal_fields_even_of_what_arrives_after_it() -> None:
    found = customer(
        customer_event(3, "account_deleted", 60),
        customer_event(1, "signup", 0, profile={"email": "a@b.c", "name": "Ada", "country": "DE"}),
    )
    assert found["is_deleted"] is True
    assert not {"email", "email_hash", "email_domain", "name"} & found.keys()
    assert found["country"] == "DE"


def test_created_first_and_last_seen_are_by_event_time() -> None:
    found = customer(
        customer_event(3, "login", 50),
        customer_event(2, "signup", 10, profile={"email": "a@b.c"}),
        customer_event(1, "login", -20),
    )
    seen = [found[name] for name in ("first_seen_at", "created_at", "last_seen_at")]
    assert seen == ["2026-03-01T11:40:00Z", "2026-03-01T12:10:00Z", "2026-03-01T12:50:00Z"]


def test_the_acquisition_is_of_the_earliest_event_with_a_context() -> None:
    found = customer(
        customer_event(3, "login", 5, has_context=True, channel="email"),
        customer_event(2, "login", 1, has_context=True, channel="paid_search", campaign="brand"),
        customer_event(1, "login", 0),
    )
    assert (found["acquisition_channel"], found["acquisition_campaign"]) == ("paid_search", "brand")


account_events = st.lists(
    st.tuples(
        st.sampled_from(["signup", "login", "profile_updated", "account_deleted"]),
        st.integers(0, 50),
        st.dictionaries(
            st.sampled_from(["email", "name", "country", "marketing_opt_in"]), st.none() | st.just("a@bc")
        ),
        st.sampled_from(["direct", "email", None]),
    ),
    min_size=1,
    max_size=12,
).map(
    lambda drawn: [
        customer_event(
            number, kind, offset, profile=profile, has_context=channel is not None, channel=channel
        )
        for number, (kind, offset, profile, channel) in enumerate(drawn, start=1)
    ]
)


@given(events=account_events, data=st.data())
def test_any_order_repetition_and_batches_give_the_same_customer(
    events: list[VisitorEvent], data: st.DataObject
) -> None:
    repeated = events + data.draw(st.lists(st.sampled_from(events), max_size=5))
    shuffled = data.draw(st.permutations(repeated))
    size = data.draw(st.integers(1, len(shuffled)))
    batches = [list(shuffled[i : i + size]) for i in range(0, len(shuffled), size)]
    assert customers(*batches) == customers(events)


def listing(number: int, event_type: str, offset: float, **fields: Any) -> CatalogueEvent:
    at = NOON + timedelta(minutes=offset)
    common = {"occurred_at": at, "arrived_at": at, "content_hash": number, "product_id": "p-1"}
    return CatalogueEvent(event_id=event_id(number), event_type=event_type, **common, **fields)


def listed(number: int, offset: float, price: str) -> CatalogueEvent:
    return listing(
        number,
        "product_listed",
        offset,
        name="Boot",
        category="shoes",
        price=Decimal(price),
        currency="EUR",
        stock=3,
    )


def product(events: list[CatalogueEvent]) -> dict[str, Any]:
    stage, state = ProductsStage(), State()
    outputs = []
    for event in events:
        result = stage.process(batch_of(stage.topic, [encode_fact(event)]), state, Revision(1, 1), NOON)
        state.take(result.changes)
        outputs += result.outputs
    found: dict[str, Any] = json.loads(outputs[-1].value or b"")
    return found


@given(order=st.permutations(range(4)))
def test_the_latest_listing_holds_in_any_order(order: list[int]) -> None:
    events = [
        listed(1, 0, "10"),
        listing(2, "product_delisted", 10),
        listed(3, 20, "12.50"),
        listing(4, "product_delisted", 30),
    ]
    found = product([events[i] for i in order])
    assert (found["price"], found.get("is_listed", False), found["listed_at"]) == (
        "12.50",
        False,
        "2026-03-01T12:00:00Z",
    )


def test_each_link_of_a_visitor_to_a_customer_is_sent_once_a_batch() -> None:
    linked = {"visitor_id": "c-1", "customer_id": "c-1", "anonymous_id": "a-1"}
    events = [
        visitor_event(1, NOON, **linked),
        visitor_event(1, NOON, **linked),
        visitor_event(2, NOON + minutes(1), **linked),
        visitor_event(3, NOON, visitor_id="a-1", anonymous_id="a-1"),
    ]
    outputs = run(IdentitiesStage(), State(), events).outputs
    assert [json.loads(output.value or b"")["seen_at"] for output in outputs] == [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:01:00Z",
    ]
