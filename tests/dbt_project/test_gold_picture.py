"""The picture of the demo is read from gold as it is."""

from decimal import Decimal

import psycopg
import pytest
from conftest import Built

from pipeline.commands.demo import read_business

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]


def test_the_picture_has_the_figures_of_gold(built: Built) -> None:
    with psycopg.connect(built.settings.postgres_url.get_secret_value()) as connection:
        business = read_business(connection, "USD")
    revenue = sum(amount for _, amount in built.reference.bookings())
    assert sum(month.revenue for month in business.months) == revenue
    assert sum(channel.revenue for channel in business.channels) == revenue
    assert sum(segment.revenue for segment in business.segments) == revenue
    new = sum(month.customers_new for month in business.months)
    assert sum(cohort.customers for cohort in business.cohorts) == new > 0
    assert all(cohort.retention[0] == 1 for cohort in business.cohorts)
    paid = {channel.channel: channel for channel in business.channels}["paid_search"]
    assert paid.roas == pytest.approx(paid.revenue / paid.spend)
    assert business.segments[-1].segment is None
    assert sum((segment.expected or Decimal(0)) for segment in business.segments) > 0
