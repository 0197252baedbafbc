"""The fields of every event: each rule of the event tables, held from real bytes."""

from typing import Any

import msgspec
import pytest
from event_examples import CONTEXT, NO_VISITOR, accepted, example, item, named, refused

from streams.dead_letters import Reason
from streams.events import EVENT_CLASSES, STREAM_OF_TYPE, event_type_of

MISSING, WRONG_TYPE, INVALID = Reason.MISSING_FIELD, Reason.WRONG_TYPE, Reason.INVALID_VALUE
CLASSES = {event_type_of(c): c for classes in EVENT_CLASSES.values() for c in classes}
REQUIRED = [
    (event_type, field.encode_name)
    for event_type, event_class in CLASSES.items()
    for field in msgspec.structs.fields(event_class)
    if field.required
]
CONTRACT = {
    "signup": {"customer_id", "email"},
    "login": {"customer_id"},
    "logout": {"customer_id"},
    "profile_updated": {"customer_id"},
    "account_deleted": {"customer_id"},
    "purchase": {"customer_id", "order_id", "amount", "currency", "items", "payment_method"},
    "refund": {"customer_id", "order_id", "amount", "currency"},
    "subscription_started": {"customer_id", "subscription_id", "plan", "monthly_amount", "currency"},
    "subscription_renewed": {"customer_id", "subscription_id", "plan", "monthly_amount", "currency"},
    "subscription_cancelled": {"customer_id", "subscription_id", "plan", "monthly_amount", "currency"},
    "page_viewed": set(),
    "product_viewed": {"product_id"},
    "product_searched": {"query"},
    "cart_added": {"product_id"},
    "cart_removed": {"product_id"},
    "checkout_started": set(),
    "product_reviewed": {"product_id", "rating"},
    "product_listed": {"product_id", "name", "category", "price", "currency", "stock"},
    "product_delisted": {"product_id"},
    "log": {"service", "level", "message"},
}


@pytest.mark.parametrize("event_type", STREAM_OF_TYPE)
def test_a_right_event_of_each_type_is_accepted_with_and_without_context(event_type: str) -> None:
    assert event_type_of(type(accepted(example(event_type)))) == event_type
    accepted(example(event_type, context=CONTEXT))
    accepted(example(event_type, context={}))
    accepted(example(event_type, context=None))


@pytest.mark.parametrize("event_type", CONTRACT)
def test_the_required_fields_are_those_of_the_contract(event_type: str) -> None:
    required = {field for of_type, field in REQUIRED if of_type == event_type}
    assert required == CONTRACT[event_type] | {"event_id", "occurred_at"}


@pytest.mark.parametrize(("event_type", "field"), REQUIRED)
def test_a_required_field_that_is_absent_is_missing_and_a_null_one_of_a_wrong_type(
    event_type: str, field: str
) -> None:
    assert named(refused(example(event_type, **{field: ...}))) == (MISSING, [f"$.{field}"])
    assert named(refused(example(event_type, **{field: None}))) == (WRONG_TYPE, [f"$.{field}"])


@pytest.mark.parametrize("event_type", STREAM_OF_TYPE)
def test_an_event_of_another_stream_is_of_an_unknown_type_and_is_told_where_it_belongs(
    event_type: str,
) -> None:
    stream = "system-logs" if STREAM_OF_TYPE[event_type] != "system-logs" else "product-events"
    found = refused(example(event_type), stream)
    assert named(found) == (Reason.UNKNOWN_EVENT_TYPE, ["$.event_type"])
    assert STREAM_OF_TYPE[event_type] in found.errors[0].message


@pytest.mark.parametrize("event_type", sorted(set(STREAM_OF_TYPE) - NO_VISITOR))
def test_an_event_of_a_visitor_says_who(event_type: str) -> None:
    nobody = example(event_type, customer_id=..., anonymous_id=...)
    customer_wanted = "customer_id" in CONTRACT[event_type]
    assert named(refused(nobody)) == (
        MISSING,
        ["$.customer_id" if customer_wanted else "$.anonymous_id"],
    )
    if not customer_wanted:
        accepted({**nobody, "anonymous_id": "a-1"})


@pytest.mark.parametrize("event_type", STREAM_OF_TYPE)
def test_an_event_says_its_type_even_if_its_stream_has_only_one(event_type: str) -> None:
    found = refused(example(event_type, event_type=...), STREAM_OF_TYPE[event_type])
    assert named(found) == (MISSING, ["$.event_type"])
    nothing = refused(example(event_type, event_type="nothing", none=1), STREAM_OF_TYPE[event_type])
    assert named(nothing) == (Reason.UNKNOWN_EVENT_TYPE, ["$.event_type"])


@pytest.mark.parametrize("event_type", sorted(NO_VISITOR))
def test_the_catalogue_and_logs_need_nobody(event_type: str) -> None:
    accepted(example(event_type))


@pytest.mark.parametrize(
    ("event", "reason", "path"),
    [
        # common fields
        (example("logout", event_id="not a uuid"), INVALID, "$.event_id"),
        (example("logout", event_id=7), WRONG_TYPE, "$.event_id"),
        (example("logout", event_type=7), WRONG_TYPE, "$.event_type"),
        (example("logout", event_version=2), Reason.UNKNOWN_VERSION, "$.event_version"),
        (example("logout", event_version=0), Reason.UNKNOWN_VERSION, "$.event_version"),
        (example("logout", event_version="1"), WRONG_TYPE, "$.event_version"),
        (example("logout", event_version=1.0), WRONG_TYPE, "$.event_version"),
        (example("logout", event_version=None), WRONG_TYPE, "$.event_version"),
        (example("logout", customer_id=""), INVALID, "$.customer_id"),
        (example("logout", customer_id="x" * 129), INVALID, "$.customer_id"),
        (example("logout", customer_id=4711), WRONG_TYPE, "$.customer_id"),
        (example("page_viewed", anonymous_id="x" * 129), INVALID, "$.anonymous_id"),
        (example("logout", context="home"), WRONG_TYPE, "$.context"),
        (example("logout", context=[]), WRONG_TYPE, "$.context"),
        (example("logout", context={"country": "Germany"}), INVALID, "$.context.country"),
        (example("logout", context={"country": "D1"}), INVALID, "$.context.country"),
        (example("logout", context={"country": "DE\n"}), INVALID, "$.context.country"),
        (example("logout", context={"ip": 7}), WRONG_TYPE, "$.context.ip"),
        (example("logout", context={"utm_source": []}), WRONG_TYPE, "$.context.utm_source"),
        # customer-events
        (example("signup", email="nobody"), INVALID, "$.email"),
        (example("signup", email="a@b@c.d"), INVALID, "$.email"),
        (example("signup", email="a b@c.d"), INVALID, "$.email"),
        (example("signup", email="a@b.c\n"), INVALID, "$.email"),
        (example("signup", email="@b.c"), INVALID, "$.email"),
        (example("signup", email="a@"), INVALID, "$.email"),
        (example("signup", email="a@" + "b" * 319), INVALID, "$.email"),
        (example("signup", name=["Ada"]), WRONG_TYPE, "$.name"),
        (example("signup", country="GBR"), INVALID, "$.country"),
        (example("signup", birth_year=1849), INVALID, "$.birth_year"),
        (example("signup", birth_year=2201), INVALID, "$.birth_year"),
        (example("signup", birth_year="1990"), WRONG_TYPE, "$.birth_year"),
        (example("signup", marketing_opt_in="yes"), WRONG_TYPE, "$.marketing_opt_in"),
        (example("signup", marketing_opt_in=1), WRONG_TYPE, "$.marketing_opt_in"),
        # transaction-events
        (example("purchase", order_id=""), INVALID, "$.order_id"),
        (example("purchase", order_id=1001), WRONG_TYPE, "$.order_id"),
        (example("purchase", currency="eur"), INVALID, "$.currency"),
        (example("purchase", currency="EURO"), INVALID, "$.currency"),
        (example("purchase", currency="EUR\n"), INVALID, "$.currency"),
        (example("purchase", currency="XTS"), Reason.UNKNOWN_CURRENCY, "$.currency"),
        (example("refund", currency="XTS"), Reason.UNKNOWN_CURRENCY, "$.currency"),
        (example("subscription_started", currency="XTS"), Reason.UNKNOWN_CURRENCY, "$.currency"),
        (example("product_listed", currency="XTS"), Reason.UNKNOWN_CURRENCY, "$.currency"),
        (example("purchase", items=[]), INVALID, "$.items"),
        (example("purchase", items={}), WRONG_TYPE, "$.items"),
        (example("purchase", items=[7]), WRONG_TYPE, "$.items[0]"),
        (example("purchase", items=[item(), item(quantity=0)]), INVALID, "$.items[1].quantity"),
        (example("purchase", items=[item(quantity=1_000_000_001)]), INVALID, "$.items[0].quantity"),
        (example("purchase", items=[item(quantity=1.5)]), WRONG_TYPE, "$.items[0].quantity"),
        (example("purchase", items=[item(product_id="")]), INVALID, "$.items[0].product_id"),
        (example("purchase", items=[item(category=...)]), MISSING, "$.items[0].category"),
        (example("purchase", items=[item(unit_price=-1)]), INVALID, "$.items[0].unit_price"),
        (example("purchase", payment_method=7), WRONG_TYPE, "$.payment_method"),
        (example("purchase", coupon=7), WRONG_TYPE, "$.coupon"),
        (example("purchase", discount=-1), INVALID, "$.discount"),
        (example("purchase", amount="-0.01"), INVALID, "$.amount"),
        (example("refund", amount=0), INVALID, "$.amount"),
        (example("refund", amount=-1), INVALID, "$.amount"),
        (example("subscription_started", monthly_amount="-9"), INVALID, "$.monthly_amount"),
        (example("subscription_started", plan=7), WRONG_TYPE, "$.plan"),
        # product-events
        (example("product_viewed", product_id=""), INVALID, "$.product_id"),
        (example("product_viewed", product_id=["p-1"]), WRONG_TYPE, "$.product_id"),
        (example("product_searched", query=7), WRONG_TYPE, "$.query"),
        (example("cart_added", quantity=0), INVALID, "$.quantity"),
        (example("cart_added", quantity="two"), WRONG_TYPE, "$.quantity"),
        (example("product_reviewed", rating=0), INVALID, "$.rating"),
        (example("product_reviewed", rating=6), INVALID, "$.rating"),
        (example("product_reviewed", rating=4.5), WRONG_TYPE, "$.rating"),
        (example("product_listed", price=-1), INVALID, "$.price"),
        (example("product_listed", stock=-1), INVALID, "$.stock"),
        (example("product_listed", stock=2**31), INVALID, "$.stock"),
        (example("product_listed", stock="plenty"), WRONG_TYPE, "$.stock"),
        # system-logs
        (example("log", level="loud"), INVALID, "$.level"),
        (example("log", level="INFO"), INVALID, "$.level"),
        (example("log", latency_ms=-1), INVALID, "$.latency_ms"),
        (example("log", latency_ms="fast"), WRONG_TYPE, "$.latency_ms"),
        (example("log", status_code=-1), INVALID, "$.status_code"),
        (example("log", status_code=2**31), INVALID, "$.status_code"),
        (example("log", status_code="200"), WRONG_TYPE, "$.status_code"),
        (example("log", trace_id=7), WRONG_TYPE, "$.trace_id"),
    ],
)
def test_a_field_against_its_rule_is_refused(event: dict[str, Any], reason: Reason, path: str) -> None:
    stream = None if event["event_type"] in STREAM_OF_TYPE else "customer-events"
    assert named(refused(event, stream)) == (reason, [path])


@pytest.mark.parametrize(
    "event",
    [
        example("logout", event_version=1),
        example("logout", customer_id="x" * 128),
        example("logout", customer_id="😀" * 128),
        example("logout", context={"country": "de"}),
        example("profile_updated", email=None, name=None, country=None, birth_year=None),
        example("login", anonymous_id=None),
        example("purchase", amount=0),
        example("purchase", coupon=None, discount=None),
        example("purchase", items=[item(unit_price=0)]),
        example("product_reviewed", rating=1),
        example("product_reviewed", rating=5),
        example("product_listed", stock=0, price=0),
        example("log", latency_ms=0, status_code=0),
        example("log", latency_ms=None, status_code=None, trace_id=None),
        example("log", service="", message=""),
        example("page_viewed", colour="red", more={"deep": [1, {}]}),
        example("page_viewed", unknown="\0"),
    ],
)
def test_a_field_just_within_its_rule_is_accepted(event: dict[str, Any]) -> None:
    accepted(event)


def test_a_null_profile_field_clears_and_an_absent_one_leaves() -> None:
    event = accepted(example("profile_updated", name=...))
    assert event.email is None
    assert event.name is msgspec.UNSET


def test_all_that_is_wrong_with_an_event_is_reported_together() -> None:
    found = refused(
        example(
            "purchase",
            order_id=...,
            amount=-5,
            currency="XTS",
            occurred_at="yesterday",
            payment_method=7,
            items=[item(), item(quantity="2", unit_price="-1"), 3],
            context={"country": "Germany"},
        )
    )
    assert found.reason is MISSING
    assert {error.path for error in found.errors} == {
        "$.order_id",
        "$.amount",
        "$.currency",
        "$.occurred_at",
        "$.payment_method",
        "$.items[1].quantity",
        "$.items[1].unit_price",
        "$.items[2]",
        "$.context.country",
    }


@pytest.mark.parametrize(("event_type", "reason"), [(..., MISSING), ("buy", Reason.UNKNOWN_EVENT_TYPE)])
def test_what_all_events_have_is_checked_when_the_type_is_unknown(event_type: Any, reason: Reason) -> None:
    found = refused(example("purchase", event_type=event_type, event_id="7", occurred_at=...))
    assert found.reason is reason
    assert {error.path for error in found.errors} == {"$.event_type", "$.event_id", "$.occurred_at"}


def test_the_reason_is_the_first_of_the_closed_list_and_its_error_comes_first() -> None:
    found = refused(example("purchase", currency="XTS", amount=-1, order_id=7, event_version=2))
    assert named(found) == (
        Reason.UNKNOWN_VERSION,
        ["$.event_version", "$.order_id", "$.amount", "$.currency"],
    )


def test_a_record_with_very_many_errors_lists_the_first_hundred_and_says_so() -> None:
    found = refused(example("purchase", items=[{}] * 1000))
    assert len(found.errors) == 101
    assert "only the first 100" in found.errors[-1].message


def test_long_values_are_cut_in_messages() -> None:
    found = refused(example("logout", event_type="é" * 100_000), "customer-events")
    assert len(found.errors[0].message) < 400


def test_ids_are_compared_exactly() -> None:
    alike = ["c-1", "C-1", "c-1 ", " c-1", "c‐1", "с-1", "c-1\u200b", "c-1\u0301", "c-1\x7f", "c-1\n", "c-1"]  # noqa: RUF001  (look-alikes are what it is about)
    ids = [accepted(example("logout", customer_id=each)).customer_id for each in alike]
    assert ids == alike
    assert len(set(ids)) == len(set(alike)) == 10


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (example("purchase", order_id="o\0"), "$.order_id"),
        (example("purchase", context={"page_url": "/\0"}), "$.context.page_url"),
        (example("purchase", items=[item(category="\0")]), "$.items[0].category"),
        (example("signup", name="\0"), "$.name"),
        (example("log", message="a\0b"), "$.message"),
    ],
)
def test_a_nul_character_is_refused_where_it_would_be_stored(event: dict[str, Any], path: str) -> None:
    assert named(refused(event)) == (INVALID, [path])


def test_the_text_of_an_escape_is_no_nul_character() -> None:
    assert accepted(example("purchase", order_id="C:\\u0000")).order_id == "C:\\u0000"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (example("product_reviewed", rating=9), "a whole number from 1 to 5 is wanted, this is 9"),
        (
            example("cart_added", quantity=0),
            "a whole number from 1 to 1000000000 is wanted, this is 0",
        ),
        (
            example("log", latency_ms=-1.5),
            "a number from 0 to 1000000000000 is wanted, this is -1.5",
        ),
        (
            example("logout", customer_id="x" * 129),
            "a string of 1 to 128 characters is wanted, this has 129 characters",
        ),
        (
            example("logout", event_id="odd"),
            "a UUID such as 6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a01 is wanted, this is 'odd'",
        ),
        (
            example("log", level="fatal"),
            "one of debug, info, warning, error, critical is wanted, this is 'fatal'",
        ),
        (
            example("logout", context={"country": "GBR"}),
            "a code of two letters such as DE is wanted",
        ),
        (
            example("purchase", currency="eur"),
            "a code of three capital letters such as EUR is wanted",
        ),
        (
            example("signup", email="ada"),
            "an e-mail address with one @, without spaces, of at most 320 characters is wanted",
        ),
        (
            example("logout", occurred_at="noon"),
            "an instant of RFC 3339 with an offset such as 2026-05-04T09:58:12Z is wanted, this is 'noon'",
        ),
        (
            example("refund", amount="1e9999999999999999999"),
            "a number that can be stored is wanted, this is '1e9999999999999999999'",
        ),
    ],
)
def test_what_is_wanted_is_said_in_words_and_no_personal_text_is_repeated(
    event: dict[str, Any], message: str
) -> None:
    assert [error.message for error in refused(event).errors] == [message]
