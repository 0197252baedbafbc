"""Cleaning: the rules beyond types, enrichment, watermarks, and what the stage sends."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import NOON, State, batch_of, event_id

from processors.clean.channels import host_of, read_channels
from processors.clean.facts import Enrichment, content_hash, largest_category, to_fact
from processors.clean.rules import check_event
from processors.clean.stage import CleanStage
from processors.clean.user_agents import parse_user_agent
from processors.clean.watermarks import Watermarks
from processors.outcomes import Refusal
from processors.rates import Rate, Rates, RatesError, read_rates, to_base
from streams.dead_letters import Reason, decode_dead_letter
from streams.engine.batch import Batch, Result
from streams.engine.crash import OperatorError
from streams.events import DECODERS, Item, Stream
from streams.facts import VisitorEvent, decode_visitor_event
from streams.silver import Revision
from streams.topics import CLEAN_EVENTS, CLEAN_LOGS, CLEAN_PRODUCTS, DEAD_LETTERS
from streams.transport import TransportIdentity, from_headers, to_headers

RATES = Rates(
    [
        Rate(date(2026, 1, 1), "EUR", Decimal("1.10")),
        Rate(date(2026, 2, 1), "EUR", Decimal("1.20")),
    ],
    "USD",
)
CHANNELS = read_channels(own_hosts=("shop.example",))
ENRICHMENT = Enrichment(RATES, CHANNELS)
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"


def sample(event_type: str, **fields: Any) -> dict[str, Any]:
    base = {"event_id": event_id(1), "event_type": event_type, "occurred_at": NOON.isoformat()}
    return {**base, "customer_id": "c-1", **fields}


def purchase(**fields: Any) -> dict[str, Any]:
    items = [{"product_id": "p-1", "category": "shoes", "quantity": 2, "unit_price": "9.95"}]
    given = {
        "order_id": "o-1",
        "amount": "19.90",
        "currency": "EUR",
        "items": items,
        "payment_method": "card",
    }
    return sample("purchase", **given, **fields)


def checked(stream: Stream, value: dict[str, Any], arrived_at: datetime = NOON) -> Refusal | None:
    return check_event(DECODERS[stream].decode(json.dumps(value)), arrived_at, RATES)


def problem(stream: Stream, value: dict[str, Any], arrived_at: datetime = NOON) -> tuple[Reason, str]:
    found = checked(stream, value, arrived_at)
    assert found is not None
    return found.reason, found.errors[0].path


# rules


def test_an_event_one_day_ahead_is_accepted_and_one_millisecond_more_is_not() -> None:
    early = NOON - timedelta(days=1)
    assert checked("transaction-events", purchase(), early) is None
    earlier = early - timedelta(milliseconds=1)
    assert problem("transaction-events", purchase(), earlier) == (Reason.FUTURE_TIMESTAMP, "$.occurred_at")


@pytest.mark.parametrize(
    ("fields", "reason", "path"),
    [
        ({"event_version": 2}, Reason.UNKNOWN_VERSION, "$.event_version"),
        ({"currency": "XXX"}, Reason.UNKNOWN_CURRENCY, "$.currency"),
        ({"amount": "-0.01"}, Reason.INVALID_VALUE, "$.amount"),
        ({"amount": "NaN"}, Reason.INVALID_VALUE, "$.amount"),
        ({"amount": "1e10"}, Reason.INVALID_VALUE, "$.amount"),
        ({"amount": "9000000000"}, Reason.INVALID_VALUE, "$.amount"),  # times 1.20
        ({"amount": "0.00001"}, Reason.INVALID_VALUE, "$.amount"),
        ({"discount": "-1"}, Reason.INVALID_VALUE, "$.discount"),
        ({"occurred_at": "0001-01-01T00:00:00+01:00"}, Reason.INVALID_TIMESTAMP, "$.occurred_at"),
    ],
)
def test_a_wrong_purchase_is_refused(fields: dict[str, Any], reason: Reason, path: str) -> None:
    assert problem("transaction-events", {**purchase(), **fields}) == (reason, path)


def test_a_free_order_is_right_and_an_empty_refund_is_not() -> None:
    assert checked("transaction-events", {**purchase(), "amount": 0}) is None
    refund = sample("refund", order_id="o-1", amount=0, currency="EUR")
    assert problem("transaction-events", refund) == (Reason.INVALID_VALUE, "$.amount")


def test_an_interaction_needs_a_visitor() -> None:
    nobody = {**sample("page_viewed"), "customer_id": None}
    assert problem("product-events", nobody) == (Reason.MISSING_FIELD, "$.anonymous_id")
    assert checked("product-events", {**nobody, "anonymous_id": "a-1"}) is None


# rates


def test_a_rate_holds_from_its_day_on_and_the_first_one_before_it() -> None:
    found = [RATES.find("EUR", day) for day in (date(2016, 5, 1), date(2026, 1, 31), date(2026, 2, 1))]
    assert [str(rate.rate) for rate in found if rate] == ["1.10", "1.10", "1.20"]
    assert RATES.find("XXX", date(2026, 1, 1)) is None
    assert RATES.find("USD", date(2026, 1, 1)) == Rate(date(2026, 1, 1), "USD", Decimal(1))


def test_amounts_are_rounded_to_cents_half_to_even() -> None:
    half = Rate(date(2026, 1, 1), "X", Decimal("0.5"))
    assert [str(to_base(Decimal(a), half)) for a in ("0.01", "0.03", "19.90")] == ["0.00", "0.02", "9.95"]


def test_a_wrong_rate_table_is_named_with_its_line(tmp_path: Path) -> None:
    table = tmp_path / "rates.csv"
    table.write_text("rate_date,currency,rate\n2026-01-01,EUR,1.1\n2026-01-01,GBP,much\n")
    with pytest.raises(RatesError, match=r"rates\.csv:3"):
        read_rates(table, "USD")


# enrichment


@pytest.mark.parametrize(
    ("source", "medium", "referrer", "channel"),
    [
        ("google", "cpc", None, "paid_search"),
        ("Facebook", "CPC", None, "paid_social"),
        ("newsletter", "email", "https://mail.google.com/", "email"),
        ("partner", "affiliate", None, "affiliate"),
        ("x", "banner", None, "display"),
        ("x", "something", None, "other"),
        (None, None, "https://www.google.co.uk/search", "organic_search"),
        (None, None, "https://mail.google.com/mail", "email"),
        (None, None, "https://m.facebook.com/", "organic_social"),
        (None, None, "https://blog.example.org/post", "referral"),
        (None, None, "https://www.shop.example/cart", "direct"),
        (None, None, "not a url at all", "referral"),
        (None, None, "http://[broken", "direct"),
        (None, None, None, "direct"),
    ],
)
def test_the_channel_comes_from_utm_then_from_the_referrer(
    source: str | None, medium: str | None, referrer: str | None, channel: str
) -> None:
    assert CHANNELS.channel_of(source, medium, host_of(referrer), "shop.example") == channel


@pytest.mark.parametrize(
    ("user_agent", "device", "is_bot"),
    [
        (CHROME, "desktop", False),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile Safari/604.1",
            "mobile",
            False,
        ),
        ("Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) Version/16.0 Safari/604", "tablet", False),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot", True),
        ("", "other", False),
    ],
)
def test_the_device_comes_from_the_user_agent(user_agent: str, device: str, is_bot: bool) -> None:
    agent = parse_user_agent(user_agent)
    assert (agent.device, agent.is_bot) == (device, is_bot)


def test_the_category_of_an_order_is_that_of_its_largest_item_ties_by_product() -> None:
    def item(product: str, category: str, quantity: int, price: str) -> Item:
        return Item(product, category, quantity, Decimal(price))

    assert largest_category([item("a", "books", 1, "9"), item("b", "shoes", 2, "5")]) == "shoes"
    assert largest_category([item("b", "shoes", 1, "9"), item("a", "books", 1, "9")]) == "books"


def fact_of(stream: Stream, value: dict[str, Any]) -> tuple[str, str, Any]:
    event = DECODERS[stream].decode(json.dumps(value))
    late = Watermarks(State(), timedelta(minutes=30)).observe(identity(), event.occurred_at)
    return to_fact(event, arrived_at=NOON, late=late, enrichment=ENRICHMENT)


def test_a_purchase_becomes_a_fact_with_amounts_in_the_base_currency() -> None:
    topic, key, fact = fact_of("transaction-events", {**purchase(), "context": {"user_agent": CHROME}})
    assert (topic, key) == (CLEAN_EVENTS, "c-1")
    assert isinstance(fact, VisitorEvent)
    assert (fact.amount, fact.amount_base, fact.rate_date) == (
        Decimal("19.90"),
        Decimal("23.88"),
        date(2026, 2, 1),
    )
    assert (fact.category, fact.device, fact.channel) == ("shoes", "desktop", "direct")


def test_catalogue_events_and_logs_have_topics_of_their_own() -> None:
    listed = sample(
        "product_listed", product_id="p", name="n", category="k", price=1, currency="EUR", stock=3
    )
    log = sample("log", service="web", level="info", message="m")
    assert fact_of("product-events", listed)[:2] == (CLEAN_PRODUCTS, "p")
    assert fact_of("system-logs", log)[:2] == (CLEAN_LOGS, "web")


def test_the_profile_holds_the_fields_that_were_present() -> None:
    _, _, fact = fact_of("customer-events", sample("profile_updated", name="Ada", email=None))
    assert fact.profile == {"name": "Ada", "email": None}


def test_the_content_hash_ignores_spelling_and_unknown_fields_but_not_values() -> None:
    decode = DECODERS["transaction-events"].decode
    text = json.dumps(purchase())
    same = [text, json.dumps({**purchase(), "more": 1}), json.dumps(dict(reversed(purchase().items())))]
    assert len({content_hash(decode(each)) for each in same}) == 1
    assert content_hash(decode(text)) != content_hash(decode(text.replace("o-1", "o-2")))


# watermarks


def identity(shard: str = "s-0", arrived_at: datetime = NOON) -> TransportIdentity:
    return TransportIdentity("product-events", 1, shard, "1", 0, "k", int(arrived_at.timestamp() * 1000))


def test_an_event_is_late_when_over_the_gap_behind_its_own_source() -> None:
    marks = Watermarks(State(), timedelta(minutes=30))
    assert not marks.observe(identity(), NOON).is_late
    assert not marks.observe(identity(), NOON - timedelta(minutes=30)).is_late
    late = marks.observe(identity(), NOON - timedelta(minutes=31))
    assert (late.is_late, late.seconds) == (True, 31 * 60.0)
    assert not marks.observe(identity("s-1"), NOON - timedelta(hours=5)).is_late


def test_an_event_from_the_future_does_not_make_everything_else_late() -> None:
    marks = Watermarks(State(), timedelta(minutes=30))
    marks.observe(identity(), NOON + timedelta(hours=20))
    assert not marks.observe(identity(), NOON).is_late
    marks.observe(identity(), NOON + timedelta(minutes=5))  # a clock a little ahead does count
    assert marks.observe(identity(), NOON - timedelta(minutes=26)).is_late


def test_a_watermark_is_kept_and_never_goes_back() -> None:
    state = State()
    for at in (NOON, NOON - timedelta(days=1)):
        marks = Watermarks(state, timedelta(minutes=30))
        marks.observe(identity(), at)
        state.take(marks.changes())
    assert [datetime.fromisoformat(mark.decode()) for mark in state.values()] == [NOON]


# the stage


def cleaned(values: list[bytes], *, accept_flood: bool = False, headers: Any = None) -> Result:
    stage = CleanStage("transaction-events", ENRICHMENT, timedelta(minutes=30), accept_flood=accept_flood)
    headers = to_headers(identity()) if headers is None else headers
    records: list[Any] = [
        SimpleNamespace(key=b"k", value=value, headers=headers, timestamp=5, offset=i)
        for i, value in enumerate(values)
    ]
    batch = Batch(stage.topic, 3, records, 0, len(records), None)
    return stage.process(batch, State(), Revision(0, 0), NOON)


def test_each_record_becomes_one_clean_event_or_one_dead_letter() -> None:
    result = cleaned([json.dumps(purchase()).encode(), b"{broken"])
    clean, letter = result.outputs
    assert (clean.topic, clean.key) == (CLEAN_EVENTS, b"c-1")
    assert decode_visitor_event(clean.value or b"").event_id == event_id(1)
    assert from_headers("transaction-events", clean.headers)._replace(stream="product-events") == identity()
    assert letter.topic == DEAD_LETTERS
    found = decode_dead_letter(letter.value or b"")
    assert (found.reason, found.payload, found.sequence_number) == (Reason.NOT_JSON, b"{broken", "1")


def test_a_dead_letter_shows_what_can_be_read_of_it() -> None:
    (letter,) = cleaned([json.dumps({**purchase(), "amount": -1}).encode()]).outputs
    found = decode_dead_letter(letter.value or b"")
    assert (found.event_id, found.event_type) == (event_id(1), "purchase")


def test_a_record_of_another_program_has_its_place_in_kafka_as_identity() -> None:
    (clean,) = cleaned(
        [json.dumps(purchase(occurred_at="1970-01-01T00:00:00Z") | {}).encode()], headers=()
    ).outputs
    found = from_headers("transaction-events", clean.headers)
    assert (found.shard, found.sequence_number, found.stream_epoch) == ("kafka-3", "0", 0)


def test_a_flood_of_broken_records_stops_the_worker_before_anything_is_sent() -> None:
    right, broken = json.dumps(purchase()).encode(), b"{"
    with pytest.raises(OperatorError, match=r"151 of 300 .* not_json .*--accept-flood"):
        cleaned([right] * 149 + [broken] * 151)
    assert len(cleaned([right] * 150 + [broken] * 150).outputs) == 300
    assert len(cleaned([broken] * 199).outputs) == 199
    assert len(cleaned([broken] * 300, accept_flood=True).outputs) == 300


def test_batches_decode_what_the_stage_wrote() -> None:
    (clean,) = cleaned([json.dumps(purchase()).encode()]).outputs
    batch = batch_of(CLEAN_EVENTS, [clean.value or b""])
    assert decode_visitor_event(batch.records[0].value or b"").occurred_at == NOON.astimezone(UTC)
