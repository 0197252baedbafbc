from datetime import UTC, datetime, timedelta

import pytest
from sink_examples import NOON, clean, purchase, raw

from sinks.database import Database
from sinks.registry import SINKS
from sinks.retention import bronze_days_before, day_of, delete_hops_before, drop_bronze_before
from streams.engine.batch import placed
from streams.topics import CLEAN_EVENTS, raw_topic

RAW = raw_topic("transaction-events")


def test_a_partition_says_its_day() -> None:
    assert day_of("bronze_system_logs_20260301") == NOON.date()
    with pytest.raises(ValueError, match="no partition of a day"):
        day_of("bronze_system_logs")


@pytest.mark.real
def test_days_before_the_given_one_are_dropped_and_can_come_again(store: Database) -> None:
    records = [raw(b"{}", n, at=NOON + timedelta(days=n)) for n in range(4)]
    SINKS[RAW](store, placed(records, 0))
    before = NOON.date() + timedelta(days=2)
    found = bronze_days_before(store, before)
    assert all(of.bytes > 0 for of in found)
    assert list(drop_bronze_before(store, before)) == found
    assert [of.name for of in found] == [
        "bronze_transaction_events_20260301",
        "bronze_transaction_events_20260302",
    ]
    assert count(store, "bronze.bronze_transaction_events") == 2
    SINKS[RAW](store, placed(records, 0))
    assert count(store, "bronze.bronze_transaction_events") == 4


@pytest.mark.real
def test_old_hops_are_deleted(store: Database) -> None:
    SINKS[CLEAN_EVENTS](store, placed([clean(purchase(1), 1)], 0))
    assert delete_hops_before(store, datetime.now(UTC) - timedelta(hours=1)) == 0
    later = datetime.now(UTC) + timedelta(hours=1)
    assert delete_hops_before(store, later, dry_run=True) == 3
    assert delete_hops_before(store, later) == 3
    assert count(store, "ops.ops_hops") == 0


def count(store: Database, table: str) -> object:
    row = store.transact(lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone())
    assert row is not None
    return row[0]
