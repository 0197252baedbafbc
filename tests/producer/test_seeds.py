import csv
import itertools
from decimal import Decimal

from producer.seeds import SEEDS, seed_files
from producer.shop.marketing import SOURCES
from producer.shop.places import COUNTRIES


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(seed_files()[name].splitlines()))


def test_the_files_in_the_repository_are_what_the_shop_makes() -> None:
    for name, content in seed_files().items():
        assert (SEEDS / name).read_text() == content


def test_every_currency_of_the_shop_has_a_rate_each_month() -> None:
    rates = rows("exchange_rates.csv")
    currencies = {row["currency"] for row in rates}
    assert {country.currency for country in COUNTRIES.values} <= currencies
    assert len(currencies) == 12
    assert len(rates) == 12 * 48 == len({(row["rate_date"], row["currency"]) for row in rates})
    assert {row["rate"] for row in rates if row["currency"] == "USD"} == {"1"}


def test_rates_drift_without_jumps() -> None:
    by_currency: dict[str, list[Decimal]] = {}
    for row in rows("exchange_rates.csv"):
        by_currency.setdefault(row["currency"], []).append(Decimal(row["rate"]))
    for rates in by_currency.values():
        assert all(abs(b / a - 1) < Decimal("0.06") for a, b in itertools.pairwise(rates))


def test_each_paid_campaign_of_the_shop_costs_something_each_day() -> None:
    spend = rows("marketing_spend.csv")
    paid = {(s.channel, s.campaign) for s in SOURCES.values if s.daily_spend}
    assert {(row["channel"], row["campaign"]) for row in spend} == paid
    assert len(spend) == len(paid) * 487
    assert all(Decimal(row["spend"]) > 0 for row in spend)
