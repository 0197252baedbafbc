"""Money: decimal from the bytes to the fact, never a binary float; the base currency by dated rates."""

import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from event_examples import ENRICHMENT, NOON, RATES, accepted, example, item, named, refused, spelled

from processors.clean.facts import Lateness, largest_category, to_fact
from processors.rates import Rate, Rates, RatesError, read_rates, to_base
from streams.dead_letters import Reason
from streams.events import Item
from streams.facts import VisitorEvent, decode_visitor_event, encode_fact

ON_TIME = Lateness(is_late=False, seconds=None)


def refund(raw: str) -> bytes:
    return spelled("refund", "amount", raw)


def fact_of(value: object) -> VisitorEvent:
    event = accepted(value, "transaction-events")
    _topic, _key, fact = to_fact(event, arrived_at=NOON, late=ON_TIME, enrichment=ENRICHMENT)
    return decode_visitor_event(encode_fact(fact))


@pytest.mark.parametrize(
    ("raw", "exactly"),
    [
        ("0.1", "0.1000"),
        ("0.3", "0.3000"),
        ('"0.3"', "0.3000"),
        ("1e2", "100.0000"),
        ("1E+2", "100.0000"),
        ('"1e2"', "100.0000"),
        ("1e-4", "0.0001"),
        ("12.3400", "12.3400"),
        ("12.340000000000000000000000000000000000000000", "12.3400"),
        ('"007.50"', "7.5000"),
        ("1234567890.1234", "1234567890.1234"),
        ('"1234567890.1234"', "1234567890.1234"),
    ],
)
def test_an_amount_is_read_exactly_from_a_number_and_from_a_string(raw: str, exactly: str) -> None:
    assert str(accepted(refund(raw), "transaction-events").amount) == exactly
    assert str(fact_of(refund(raw)).amount) == exactly


def test_a_tenth_and_two_tenths_are_three_tenths() -> None:
    items = [item(unit_price=0.1, quantity=1), item(unit_price=0.2, quantity=1)]
    event = accepted(example("purchase", amount=0.3, items=items))
    assert sum(each.unit_price for each in event.items) == event.amount


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("123456789012345678", "below 10000000000"),
        ("0.30000000000000004", "more than 4 decimal places"),
        ('"0.00001"', "more than 4 decimal places"),
        ("1e10", "below 10000000000"),
        ("1e999999", "below 10000000000"),
        ('"1E+999999"', "below 10000000000"),
        ("1e-999999", "more than 4 decimal places"),
        ("1e99999999999999999999", ""),
        ("-0.01", "must be > 0"),
        ("0", "must be > 0"),
        ("-0.0", "must be > 0"),
        ('"-0"', "must be > 0"),
        ('"NaN"', "no decimal number"),
        ('"sNaN"', "no decimal number"),
        ('"Infinity"', "no decimal number"),
        ('""', "no decimal number"),
        ('" 1"', "no decimal number"),
        ('"1_000"', "no decimal number"),
        ('"1,50"', "no decimal number"),
        ('"1.000,50"', "no decimal number"),
        ('"+5"', "no decimal number"),
        ('".5"', "no decimal number"),
        ('"5."', "no decimal number"),
        ('"0x10"', "no decimal number"),
        ('"١٢"', "no decimal number"),
        ('"5 EUR"', "no decimal number"),
    ],
)
def test_what_is_no_amount_of_money_is_refused(raw: str, message: str) -> None:
    started = time.process_time()
    found = refused(refund(raw), "transaction-events")
    assert time.process_time() - started < 1
    assert named(found) == (Reason.INVALID_VALUE, ["$.amount"])
    assert message in found.errors[0].message


@pytest.mark.parametrize("raw", ["true", "[]", "{}"])
def test_an_amount_is_a_number_or_a_decimal_string(raw: str) -> None:
    assert named(refused(refund(raw), "transaction-events")) == (Reason.WRONG_TYPE, ["$.amount"])


def test_an_amount_is_bounded_in_the_base_currency_too() -> None:
    assert named(refused(example("refund", amount="9000000000"))) == (
        Reason.INVALID_VALUE,
        ["$.amount"],
    )  # x 1.2
    accepted(example("refund", amount="8000000000"))
    accepted(example("refund", amount="9000000000", currency="USD"))


def test_odd_spellings_are_found_in_items_and_in_the_catalogue() -> None:
    assert named(refused(example("purchase", items=[item(unit_price="1_0")])))[1] == ["$.items[0].unit_price"]
    assert named(refused(example("purchase", discount=" 1")))[1] == ["$.discount"]
    assert named(refused(example("product_listed", price="+1")))[1] == ["$.price"]


def test_an_odd_spelling_is_found_under_a_name_with_escapes() -> None:
    value = refund('"1_000"').replace(b'"amount"', rb'"\u0061mount"')
    assert named(refused(value, "transaction-events")) == (Reason.INVALID_VALUE, ["$.amount"])
    right = refund('"10"').replace(b'"amount"', rb'"amo\u0075nt"')
    assert accepted(right, "transaction-events").amount == 10


# accepted as facts; a quality check may find them later


@pytest.mark.parametrize(
    "event",
    [
        example("purchase", amount="1.00", items=[item(unit_price="9.95", quantity=2)]),
        example("purchase", amount="0", discount="500"),
        example("refund", order_id="never-seen", amount="5"),
        example("refund", amount="999999"),
        example("refund", occurred_at="2020-01-01T00:00:00Z"),
        example("subscription_renewed", subscription_id="never-started"),
    ],
)
def test_what_only_other_events_could_contradict_is_a_fact(event: dict[str, object]) -> None:
    assert fact_of(event).currency == "EUR"


# rates


def test_a_rate_holds_from_its_day_on_and_the_first_one_before_it() -> None:
    days = [date(2016, 5, 1), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1), date(2030, 1, 1)]
    found = [RATES.find("EUR", day) for day in days]
    assert [str(rate.rate) for rate in found if rate] == ["1.10", "1.10", "1.10", "1.20", "1.20"]
    assert RATES.find("XXX", date(2026, 1, 1)) is None
    assert RATES.find("USD", date(2026, 1, 1)) == Rate(date(2026, 1, 1), "USD", Decimal(1))


def test_the_rate_of_an_event_is_that_of_its_day_in_utc() -> None:
    fact = fact_of(example("refund", occurred_at="2026-02-01T00:30:00+01:00"))  # still January
    assert (fact.rate, fact.rate_date, fact.amount_base) == (
        Decimal("1.10"),
        date(2026, 1, 1),
        Decimal("5.50"),
    )


def test_an_amount_in_the_base_currency_stays_as_it_is_but_for_cents() -> None:
    fact = fact_of(example("refund", amount="5.0051", currency="USD"))
    assert (fact.amount, fact.amount_base, fact.rate) == (Decimal("5.0051"), Decimal("5.01"), Decimal(1))


def test_amounts_are_rounded_to_cents_half_to_even() -> None:
    half = Rate(date(2026, 1, 1), "X", Decimal("0.5"))
    amounts = [("0.01", "0.00"), ("0.03", "0.02"), ("0.05", "0.02"), ("0.0101", "0.01"), ("19.90", "9.95")]
    assert [str(to_base(Decimal(amount), half)) for amount, _ in amounts] == [base for _, base in amounts]


def test_a_purchase_has_amounts_in_both_currencies_and_its_items_as_they_were() -> None:
    fact = fact_of(example("purchase"))
    assert (fact.amount, fact.amount_base) == (Decimal("19.90"), Decimal("23.88"))
    assert (fact.rate, fact.rate_date, fact.category) == (Decimal("1.20"), date(2026, 2, 1), "shoes")
    assert fact.items == [{"product_id": "p-1", "category": "shoes", "quantity": 2, "unit_price": "9.9500"}]


def test_a_subscription_has_its_monthly_amount_in_both_currencies() -> None:
    fact = fact_of(example("subscription_started", monthly_amount="900", currency="JPY"))
    assert (fact.monthly_amount, fact.monthly_amount_base) == (Decimal(900), Decimal("5.85"))


def test_the_category_of_an_order_is_that_of_its_largest_item_ties_by_product() -> None:
    def line(product: str, category: str, quantity: int, price: str) -> Item:
        return Item(product, category, quantity, Decimal(price))

    assert largest_category([line("a", "books", 1, "9"), line("b", "shoes", 2, "5")]) == "shoes"
    assert largest_category([line("b", "shoes", 1, "9"), line("a", "books", 1, "9")]) == "books"


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2026-01-01,GBP,much", "much"),
        ("2026-01-01,GBP,-1", "above 0"),
        ("2026-01-01,GBP,0", "above 0"),
        ("2026-01-01,GBP,NaN", "above 0"),
        ("2026-01-01,GBP,Infinity", "above 0"),
        ("yesterday,GBP,1", "yesterday"),
        ("2026-01-01,gbp,1", "currency"),
        ("2026-01-01,EUR,2", "twice"),
        ("2026-01-01", "rate_date,currency,rate"),
    ],
)
def test_a_wrong_rate_table_is_named_with_its_line(tmp_path: Path, row: str, what: str) -> None:
    table = tmp_path / "rates.csv"
    table.write_text(f"rate_date,currency,rate\n2026-01-01,EUR,1.1\n{row}\n")
    with pytest.raises(RatesError, match=rf"rates\.csv:3: .*{what}"):
        read_rates(table, "USD")


def test_a_rate_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RatesError, match="cannot be read"):
        read_rates(tmp_path / "none.csv", "USD")


def test_a_currency_is_known_on_every_day_once_it_has_a_rate() -> None:
    rates = Rates([Rate(date(2026, 1, 1), "EUR", Decimal("1.1"))], "USD")
    old = example("refund", occurred_at="1970-01-01T00:00:00Z")
    assert accepted(old, rates=rates, arrived_at=datetime(2026, 1, 1, tzinfo=UTC)).currency == "EUR"


def test_a_table_in_another_base_currency_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("rate_date,currency,rate\n2026-01-01,USD,1\n2026-01-01,EUR,1.0887\n")
    assert read_rates(path, "USD")
    assert read_rates(path, "CHF")  # nothing in it says what it is in
    with pytest.raises(
        RatesError, match=r"rates\.csv:3: one EUR is 1\.0887 here, so the table is not in EUR"
    ):
        read_rates(path, "EUR")
