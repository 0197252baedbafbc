"""Customers, products and identities: merges, so any order, repetition and batches give the same."""

import hmac
import json
import unicodedata
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

from builders import NOON, State, batch_of, event_id, minutes, run, visitor_event
from hypothesis import given
from hypothesis import strategies as st

from processors.customers import CustomersStage, email_hash, normalised_email
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


def expected_customer(events: list[VisitorEvent]) -> dict[str, Any]:
    """The same, as one would compute it with all events at hand: sort, and read off."""
    ordered = sorted(events, key=lambda event: (event.occurred_at, event.event_id))
    deletions = [i for i, event in enumerate(ordered) if event.event_type == "account_deleted"]
    signups = [i for i, event in enumerate(ordered) if event.event_type == "signup"]
    deleted = deletions[-1] if deletions else -1
    fields: dict[str, Any] = {}
    for i, event in enumerate(ordered):
        for name, value in (event.profile or {}).items():
            fields[name] = None if name in {"email", "name"} and i <= deleted else value
    acquired = next((event for event in ordered if event.has_context), None)
    return {
        "name": fields.get("name"),
        "email": fields.get("email"),
        "country": (fields.get("country") or "").upper() or None,
        "marketing_opt_in": fields.get("marketing_opt_in"),
        "created_at": (ordered[signups[0]] if signups else ordered[0]).occurred_at,
        "first_seen_at": ordered[0].occurred_at,
        "last_seen_at": ordered[-1].occurred_at,
        "is_deleted": bool(deletions) and not any(i > deleted for i in signups),
        "acquisition_event_id": acquired.event_id if acquired else None,
        "acquisition_channel": acquired.channel if acquired else None,
    }


@given(events=account_events)
def test_a_customer_is_what_sorting_all_its_events_gives(events: list[VisitorEvent]) -> None:
    found = customers(events)["c-1"]
    for name, value in expected_customer(events).items():
        if isinstance(value, datetime):
            assert datetime.fromisoformat(found[name]) == value
        else:
            assert found.get(name, False if name == "is_deleted" else None) == value


def test_a_signup_after_the_deletion_revives_without_what_was_before() -> None:
    events = [
        customer_event(1, "signup", 0, profile={"email": "a@b.c", "name": "Ada", "country": "DE"}),
        customer_event(2, "account_deleted", 60),
        customer_event(3, "signup", 90, profile={"email": "new@b.c"}),
    ]
    for order in permutations(events):
        found = customer(*order)
        assert found.get("is_deleted", False) is False
        assert found["email"] == "new@b.c"
        assert "name" not in found
        assert found["created_at"] == "2026-03-01T12:00:00Z"


def test_a_deletion_at_the_instant_of_a_signup_is_decided_by_event_id() -> None:
    signup = customer_event(1, "signup", 0, profile={"email": "a@b.c"})
    assert customer(signup, customer_event(2, "account_deleted", 0))["is_deleted"] is True
    later = customer_event(3, "signup", 0, profile={"email": "a@b.c"})
    assert "is_deleted" not in customer(later, customer_event(2, "account_deleted", 0))


def test_the_hash_of_an_address_is_a_keyed_one_of_its_normal_form() -> None:
    address = "ada.l+news@bücher.example"
    composed = unicodedata.normalize("NFC", " Ada.L+news@Bu\u0308cher.example ").lower().strip()
    assert normalised_email(" Ada.L+news@Bu\u0308cher.example\t") == composed == address
    known = hmac.new(b"key", address.encode(), "sha256").hexdigest()
    assert email_hash(address, b"key") == known
    assert email_hash(address, b"another") != known
    assert normalised_email("adal@bücher.example") != address


def test_one_address_written_in_two_ways_is_one_hash_and_domain() -> None:
    found = [
        customer(customer_event(1, "signup", profile={"email": email}))
        for email in ("Ada@Example.ORG", " ada@example.org")
    ]
    assert found[0]["email_hash"] == found[1]["email_hash"]
    assert {one["email_domain"] for one in found} == {"example.org"}
    assert found[0]["email"] == "Ada@Example.ORG"


def test_the_state_of_a_customer_stays_small_however_many_events_it_has() -> None:
    stage, state = CustomersStage(SECRET), State()
    profile = {"email": "ada@example.org", "name": "Ada", "country": "DE", "birth_year": 1990}
    run(stage, state, [customer_event(0, "signup", profile=profile | {"marketing_opt_in": True})])
    sizes = []
    for batch in range(3):
        events = [
            customer_event(n, "profile_updated", n, profile=profile, has_context=True, channel="email")
            for n in range(1 + batch * 300, 301 + batch * 300)
        ]
        run(stage, state, events)
        sizes.append(sum(map(len, state.values())))
    assert sizes[0] == sizes[1] == sizes[2] < 800


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


catalogue = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=12
).map(
    lambda drawn: [
        listed(number, offset, str(price)) if is_listing else listing(number, "product_delisted", offset)
        for number, (is_listing, offset, price) in enumerate(drawn, start=1)
    ]
)


@given(events=catalogue, data=st.data())
def test_any_order_and_repetition_gives_the_product_that_sorting_gives(
    events: list[CatalogueEvent], data: st.DataObject
) -> None:
    repeated = events + data.draw(st.lists(st.sampled_from(events), max_size=5))
    found = product(data.draw(st.permutations(repeated)))
    ordered = sorted(events, key=lambda event: (event.occurred_at, event.event_id))
    listings = [event for event in ordered if event.event_type == "product_listed"]
    assert found.get("price") == (str(listings[-1].price) if listings else None)
    assert found.get("is_listed", False) is (ordered[-1].event_type == "product_listed")
    assert ("listed_at" in found) is bool(listings)
    if listings:
        assert datetime.fromisoformat(found["listed_at"]) == listings[0].occurred_at


def test_the_state_of_a_product_stays_small_however_many_events_it_has() -> None:
    stage, state = ProductsStage(), State()
    events = [encode_fact(listed(n, n, "12.50")) for n in range(300)]
    for values in (events[:100], events[100:]):
        state.take(stage.process(batch_of(stage.topic, values), state, Revision(1, 1), NOON).changes)
        assert sum(map(len, state.values())) < 400


@given(
    seen=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["c", "d", None]), st.integers(0, 3))),
    data=st.data(),
)
def test_links_are_the_same_in_any_order_repetition_and_batches(
    seen: list[tuple[str, str | None, int]], data: st.DataObject
) -> None:
    events = [
        visitor_event(
            n,
            NOON + minutes(at),
            anonymous_id=anonymous,
            customer_id=customer,
            visitor_id=customer or anonymous,
        )
        for n, (anonymous, customer, at) in enumerate(seen)
    ]
    order = data.draw(st.permutations(events + events[:3]))
    size = data.draw(st.integers(1, 4))
    links = set()
    for i in range(0, len(order), size):
        outputs = run(IdentitiesStage(), State(), order[i : i + size]).outputs
        values = [output.value or b"" for output in outputs]
        assert len(set(values)) == len(values)
        links |= {
            (link["anonymous_id"], link["customer_id"], datetime.fromisoformat(link["seen_at"]))
            for link in map(json.loads, values)
        }
    assert links == {(a, c, NOON + minutes(at)) for a, c, at in seen if c is not None}


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
