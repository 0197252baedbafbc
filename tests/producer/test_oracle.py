"""The oracle by worked examples: what one would write down by hand from the rules."""

import json
import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from hmac import HMAC
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.ledger import LedgerLine, ledger_line
from producer.oracle.rows import Customer, Letter, Product, Row, Session, Transaction
from producer.oracle.sessions import session_id
from producer.oracle.tables import expected_tables
from producer.oracle.truth import OracleConfig, OracleError
from producer.records import Kind, Record
from producer.run import ProduceConfig, make_records
from producer.shop.agents import AGENTS, PRETENDER, ROBOTS
from producer.shop.marketing import SHOP, SOURCES, meant_channel
from streams.dead_letters import Reason
from streams.events import STREAM_OF_TYPE, Context, Stream

CONFIG = OracleConfig(
    gap=timedelta(minutes=30),
    email_secret=b"secret",
    rates=(
        (date(2026, 2, 1), "EUR", Decimal("1.20")),
        (date(2026, 1, 1), "EUR", Decimal("1.10")),
        (date(2026, 1, 1), "USD", Decimal("0.9")),
    ),
)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
IPHONE = next(agent for agent in AGENTS.values() if agent.device == "mobile").text
GOOGLE = "https://www.google.com/"


def event(number: int, event_type: str, minutes: float = 0, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": str(UUID(int=number)),
        "event_type": event_type,
        "occurred_at": (START + timedelta(minutes=minutes)).isoformat(),
        **fields,
    }


def line(fields: dict[str, Any], kind: Kind = "fact") -> LedgerLine:
    stream = STREAM_OF_TYPE[fields["event_type"]]
    record = Record(stream, json.dumps(fields).encode(), "key", kind, event_id=fields["event_id"])
    return msgspec.json.decode(ledger_line(record), type=LedgerLine)


def tables(*events: dict[str, Any]) -> dict[str, list[Row]]:
    return expected_tables(map(line, events), CONFIG)


def only(rows: Iterable[Row]) -> Any:
    (row,) = rows
    return row


def purchase(number: int, minutes: float = 0, **fields: Any) -> dict[str, Any]:
    item = {"product_id": "p-1", "category": "shoes", "quantity": 1, "unit_price": "10.00"}
    usual = {
        "customer_id": "c",
        "order_id": f"o-{number}",
        "amount": "10.00",
        "currency": "EUR",
        "items": [item],
        "payment_method": "card",
    }
    return event(number, "purchase", minutes, **(usual | fields))


# money


def test_amounts_are_in_the_base_currency_by_the_rate_of_the_day_in_utc() -> None:
    row: Transaction = only(tables(purchase(1, amount="10.10"))["silver_transactions"])
    assert (row.amount, row.amount_base, row.rate, row.rate_date) == (
        Decimal("10.10"),
        Decimal("12.12"),
        Decimal("1.20"),
        date(2026, 2, 1),
    )
    late_in_january = purchase(1, occurred_at="2026-02-01T00:30:00+01:00", amount="10.00")
    assert only(tables(late_in_january)["silver_transactions"]).amount_base == Decimal("11.00")
    long_ago = purchase(1, occurred_at="2020-01-01T00:00:00Z")
    assert only(tables(long_ago)["silver_transactions"]).rate_date == date(2026, 1, 1)


def test_the_base_currency_is_itself_whatever_the_table_says_and_half_cents_go_to_even() -> None:
    row: Transaction = only(tables(purchase(1, currency="USD", amount="0.125"))["silver_transactions"])
    assert (row.rate, row.rate_date, row.amount_base) == (Decimal(1), START.date(), Decimal("0.12"))
    assert only(
        tables(purchase(1, currency="USD", amount="0.135"))["silver_transactions"]
    ).amount_base == Decimal("0.14")


def test_a_currency_without_a_rate_is_said() -> None:
    with pytest.raises(OracleError, match="exchange rate for CHF"):
        tables(purchase(1, currency="CHF"))


def test_an_orders_category_is_that_of_the_item_with_the_largest_share_then_of_the_first_product() -> None:
    def item(product: str, category: str, quantity: int, price: str) -> dict[str, Any]:
        return {"product_id": product, "category": category, "quantity": quantity, "unit_price": price}

    three_socks = [item("p-2", "socks", 3, "4.00"), item("p-1", "shoes", 1, "10.00")]
    assert only(tables(purchase(1, items=three_socks))["silver_transactions"]).category == "socks"
    as_much = [item("p-2", "socks", 2, "5.00"), item("p-1", "shoes", 1, "10.00")]
    assert only(tables(purchase(1, items=as_much))["silver_transactions"]).category == "shoes"


def test_a_subscription_has_its_monthly_amount_and_no_amount() -> None:
    step = event(
        1,
        "subscription_started",
        customer_id="c",
        subscription_id="s",
        plan="pro",
        monthly_amount="9.99",
        currency="EUR",
    )
    row: Transaction = only(tables(step)["silver_transactions"])
    assert (row.amount, row.amount_base, row.items, row.order_id) == (None, None, None, None)
    assert (row.plan, row.monthly_amount_base) == ("pro", Decimal("11.99"))
    assert only(tables(step)["silver_customers"]).total_spent == 0


# what a context says


@pytest.mark.parametrize(
    ("marks", "channel"),
    [
        ({}, "direct"),
        ({"referrer": GOOGLE}, "organic_search"),
        ({"referrer": GOOGLE, "utm_source": "google", "utm_medium": "cpc"}, "paid_search"),
        ({"utm_source": "newsletter", "utm_medium": "email"}, "email"),
        ({"referrer": "https://blog.example.org/"}, "referral"),
        ({"referrer": f"{SHOP}/cart"}, "direct"),
        ({"referrer": "https://shop.example.com.evil.example/"}, None),
    ],
)
def test_a_visits_channel_is_that_of_its_source(marks: dict[str, str], channel: str | None) -> None:
    assert meant_channel(Context(**marks)) == channel  # type: ignore[arg-type]  # texts only


def test_no_two_sources_of_the_shop_have_the_same_marks_and_another_channel() -> None:
    for source in SOURCES.values:
        for referrer in source.referrers or (None,):
            context = Context(utm_source=source.utm_source, utm_medium=source.utm_medium, referrer=referrer)
            assert meant_channel(context) == source.channel


def test_a_fact_has_what_its_context_says_and_a_stranger_is_not_guessed_at() -> None:
    context = {"page_url": f"{SHOP}/", "referrer": GOOGLE, "user_agent": IPHONE, "country": "de"}
    row = only(tables(event(1, "page_viewed", anonymous_id="a", context=context))["silver_product_events"])
    assert row[4:12] == (f"{SHOP}/", GOOGLE, "organic_search", None, "DE", "mobile", "Mobile Safari", False)
    with pytest.raises(OracleError, match="user agent 'curl/8'"):
        tables(event(1, "page_viewed", anonymous_id="a", context={"user_agent": "curl/8"}))
    with pytest.raises(OracleError, match=r"https://unknown\.example/"):
        tables(event(1, "page_viewed", anonymous_id="a", context={"referrer": "https://unknown.example/"}))


def test_every_robot_is_found_by_its_name_but_the_pretender() -> None:
    assert [robot.is_bot for robot in ROBOTS] == [robot is not PRETENDER for robot in ROBOTS]


# sessions


def views(*minutes: float, visitor: str = "a") -> list[dict[str, Any]]:
    return [
        event(n, "page_viewed", at, anonymous_id=visitor, context={"page_url": f"{SHOP}/{n}"})
        for n, at in enumerate(minutes, 1)
    ]


def test_a_step_of_the_gap_stays_and_a_millisecond_more_cuts() -> None:
    sessions = tables(*views(0, 30))["silver_sessions"]
    assert [s.events for s in sessions if isinstance(s, Session)] == [2]
    sessions = tables(*views(0, 30 + 1 / 60_000))["silver_sessions"]
    assert [s.events for s in sessions if isinstance(s, Session)] == [1, 1]


def test_a_session_is_what_its_events_say() -> None:
    first = {"page_url": f"{SHOP}/in", "referrer": GOOGLE, "user_agent": IPHONE, "country": "DE"}
    events = [
        event(1, "page_viewed", 0, customer_id="c", context=first),
        event(2, "product_viewed", 1, customer_id="c", product_id="p"),
        event(3, "product_searched", 2, customer_id="c", query="q"),
        event(4, "cart_added", 3, customer_id="c", product_id="p"),
        event(5, "checkout_started", 4, customer_id="c", context={"page_url": f"{SHOP}/out"}),
        purchase(6, 5, amount="100.00"),
        event(7, "refund", 6, customer_id="c", order_id="o", amount="10.00", currency="EUR"),
    ]
    session: Session = only(tables(*events)["silver_sessions"])
    assert session == Session(
        session_id=session_id("c", START, UUID(int=1)),
        visitor_id="c",
        customer_id="c",
        started_at=START,
        ended_at=START + timedelta(minutes=6),
        events=7,
        page_views=1,
        products_viewed=1,
        carts=1,
        searches=1,
        checkouts=1,
        purchases=1,
        revenue_base=Decimal("108.00"),
        channel="organic_search",
        campaign=None,
        landing_page=f"{SHOP}/in",
        exit_page=f"{SHOP}/out",
        referrer=GOOGLE,
        country="DE",
        device="mobile",
        browser="Mobile Safari",
        is_bot=False,
        is_runaway=False,
        events_approximate=False,
    )


def test_of_equal_instants_the_lower_id_comes_first() -> None:
    session: Session = only(tables(*reversed(views(0, 0)))["silver_sessions"])
    assert (session.landing_page, session.exit_page) == (f"{SHOP}/1", f"{SHOP}/2")


def test_a_session_over_a_day_or_over_ten_thousand_events_is_a_runaway() -> None:
    day = [minutes * 30.0 for minutes in range(49)]
    assert not only(tables(*views(*day))["silver_sessions"]).is_runaway
    assert only(tables(*views(*day, 24 * 60 + 1))["silver_sessions"]).is_runaway
    many: Session = only(tables(*views(*(n / 1000 for n in range(10_001))))["silver_sessions"])
    assert (many.events, many.is_runaway, many.events_approximate) == (10_001, True, True)


def test_fifty_events_at_over_two_a_second_are_no_persons() -> None:
    def pace(events: int, seconds: float) -> bool:
        step = seconds / 60 / (events - 1)
        return bool(only(tables(*views(*(n * step for n in range(events))))["silver_sessions"]).is_bot)

    assert pace(50, 24.9)
    assert not pace(50, 25.0)
    assert not pace(49, 1)


def test_catalogue_and_logs_make_no_sessions() -> None:
    listed = event(
        1, "product_listed", product_id="p", name="n", category="c", price="1.00", currency="EUR", stock=1
    )
    log = event(2, "log", service="web", level="info", message="m")
    found = tables(listed, log)
    assert (found["silver_sessions"], found["silver_customers"]) == ([], [])
    assert only(found["silver_product_events"])[3:12] == (None,) * 8 + (False,)


def test_a_sessions_id_follows_from_visitor_and_first_event() -> None:
    # by coreutils: the bytes named, through b2sum -l 128
    assert session_id("v", START, UUID(int=1)) == "ae2d824b-5454-3a51-cb74-d271b7d7c15e"


# customers and products


def signup(number: int, minutes: float, **fields: Any) -> dict[str, Any]:
    usual = {"customer_id": "c", "email": "Ada@Example.com", "name": "Ada", "country": "de"}
    return event(number, "signup", minutes, **(usual | fields))


def test_a_profile_is_its_latest_values_and_null_clears() -> None:
    customer: Customer = only(
        tables(
            event(3, "profile_updated", 20, customer_id="c", name=None, marketing_opt_in=True),
            signup(2, 10, marketing_opt_in=False),
            event(1, "profile_updated", 0, customer_id="c", country="fr", name="Old"),
        )["silver_customers"]
    )
    assert customer.email == "Ada@Example.com"
    assert customer.email_domain == "example.com"
    assert customer.email_hash == HMAC(b"secret", b"ada@example.com", sha256).hexdigest()
    assert (customer.name, customer.country, customer.marketing_opt_in) == (None, "DE", True)
    assert (customer.created_at, customer.first_seen_at) == (START + timedelta(minutes=10), START)


def test_what_changed_is_stored_without_personal_values() -> None:
    row = only(
        tables(event(1, "profile_updated", customer_id="c", email="a@b", name=None, country="de"))[
            "silver_customer_events"
        ]
    )
    assert json.loads(row.changed) == {"email": "set", "name": "cleared", "country": "DE"}


def test_a_deletion_ends_personal_fields_of_before_and_a_signup_after_it_begins_anew() -> None:
    deleted = [signup(1, 0, marketing_opt_in=True), event(2, "account_deleted", 10, customer_id="c")]
    customer: Customer = only(tables(*deleted)["silver_customers"])
    assert (customer.email, customer.email_hash, customer.email_domain, customer.name) == (None,) * 4
    assert (customer.country, customer.marketing_opt_in, customer.is_deleted) == ("DE", True, True)
    back: Customer = only(tables(*deleted, signup(3, 20, name="New"))["silver_customers"])
    assert (back.email, back.name, back.is_deleted) == ("Ada@Example.com", "New", False)
    assert back.created_at == START


def test_a_customer_was_acquired_by_the_first_context_of_their_own_or_of_a_linked_device() -> None:
    events = [
        event(1, "page_viewed", 0, anonymous_id="other", context={"referrer": GOOGLE}),
        event(2, "page_viewed", 1, anonymous_id="d"),
        event(
            3,
            "page_viewed",
            2,
            anonymous_id="d",
            context={"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "weekly-newsletter"},
        ),
        event(4, "login", 3, customer_id="c", anonymous_id="d", context={}),
        # on the same device as another customer, which is not this one's visit
        event(5, "login", 1, customer_id="e", anonymous_id="d", context={"referrer": GOOGLE}),
    ]
    found = {row.customer_id: row for row in tables(*events)["silver_customers"] if isinstance(row, Customer)}
    assert (found["c"].acquisition_channel, found["c"].acquisition_campaign) == ("email", "weekly-newsletter")
    assert (found["c"].acquisition_event_id, found["c"].acquisition_at) == (
        UUID(int=3),
        START + timedelta(minutes=2),
    )
    assert found["e"].acquisition_channel == "organic_search"
    assert len(tables(*events)["silver_identities"]) == 2


def test_totals_count_each_order_event_once_and_refunds_against_them() -> None:
    refund = event(3, "refund", 5, customer_id="c", order_id="o-1", amount="2.50", currency="EUR")
    lines = [line(purchase(1)), line(purchase(2, 1)), line(refund), line(purchase(1), "duplicate")]
    customer: Customer = only(expected_tables(lines, CONFIG)["silver_customers"])
    assert (customer.orders, customer.total_spent) == (2, Decimal("21.00"))


def test_a_product_is_its_latest_listing_and_listed_if_that_was_last() -> None:
    def listed(number: int, minutes: float, price: str) -> dict[str, Any]:
        fields = {"name": f"n{number}", "category": "c", "price": price, "currency": "EUR", "stock": number}
        return event(number, "product_listed", minutes, product_id="p", **fields)

    gone = event(3, "product_delisted", 15, product_id="p")
    product: Product = only(tables(gone, listed(2, 10, "2.00"), listed(1, 0, "1.00"))["silver_products"])
    assert product == Product("p", "n2", "c", Decimal("2.00"), "EUR", 2, is_listed=False, listed_at=START)
    back: Product = only(tables(gone, listed(4, 20, "4.00"))["silver_products"])
    assert (back.is_listed, back.stock) == (True, 4)
    never: Product = only(tables(gone)["silver_products"])
    assert never == Product("p", None, None, None, None, None, is_listed=False, listed_at=None)


# dead letters


def broken(payload: bytes, reason: Reason, stream: Stream = "product-events") -> LedgerLine:
    return LedgerLine(kind="broken", stream=stream, partition_key="k", reason=reason, payload=payload)


@pytest.mark.parametrize(
    ("payload", "reason", "readable"),
    [
        (b'{"event_id": "e", "event_type": "t"', Reason.NOT_JSON, (None, None, None)),
        (b"[1]", Reason.NOT_AN_OBJECT, (None, None, None)),
        (b'{"event_id": "e", "event_type": 1}', Reason.WRONG_TYPE, ("e", None, None)),
        (b'{"event_id": "e", "page": "caf\xe9"}', Reason.NOT_UTF8, ("e", None, None)),
        (b'{"occurred_at": "2026-03-01T13:00:00+01:00"}', Reason.MISSING_FIELD, (None, None, START)),
        (b'{"occurred_at": "2026-03-01T12:00:00"}', Reason.INVALID_TIMESTAMP, (None, None, None)),
        (b'{"event_type": "' + b"x" * 300 + b'"}', Reason.UNKNOWN_EVENT_TYPE, (None, "x" * 200, None)),
    ],
)
def test_a_dead_letter_shows_what_can_be_read_of_its_record(
    payload: bytes, reason: Reason, readable: tuple[object, ...]
) -> None:
    letter: Letter = only(expected_tables([broken(payload, reason)], CONFIG)["dead_letters"])
    assert letter == Letter("product-events", "k", "clean", reason, payload, *readable)  # type: ignore[arg-type]  # of a table
    assert (letter.status, letter.attempt) == ("pending", 0)


def test_a_taken_id_is_found_where_the_first_is_stored_and_each_broken_record_is_one_letter() -> None:
    taken = broken(b"{}", Reason.CONFLICTING_EVENT_ID)
    letters = expected_tables([taken, taken], CONFIG)["dead_letters"]
    assert [letter.stage for letter in letters if isinstance(letter, Letter)] == ["sink", "sink"]


# any order


LINES = [
    msgspec.json.decode(ledger_line(record), type=LedgerLine)
    for record in make_records(
        ProduceConfig(
            seed=4, end=datetime(2026, 6, 1, tzinfo=UTC), count=600, days=40, duplicates=0.1, broken=0.05
        )
    )
]
SHOP_CONFIG = OracleConfig(
    gap=timedelta(minutes=30),
    email_secret=b"secret",
    rates=tuple(
        (date(2026, 1, 1), currency, Decimal("1.1"))
        for currency in ("EUR", "GBP", "CAD", "AUD", "SEK", "PLN", "CHF", "JPY", "INR", "BRL")
    ),
)


@given(st.integers(), st.lists(st.integers(0, len(LINES) - 1), max_size=20))
def test_neither_the_order_of_a_ledger_nor_repeated_events_change_what_is_expected(
    seed: int, repeated: list[int]
) -> None:
    again = [LINES[n] for n in repeated if LINES[n].kind != "broken"]
    shuffled = random.Random(seed).sample(LINES + again, len(LINES) + len(again))
    assert expected_tables(shuffled, SHOP_CONFIG) == expected_tables(LINES, SHOP_CONFIG)


def test_the_shop_fills_every_table() -> None:
    assert all(expected_tables(LINES, SHOP_CONFIG).values())
