"""Where in silver odd but possible events end: each has one defined place."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from sink_databases import empty_tables
from sink_examples import (
    NOON,
    ARecord,
    clean,
    customer_state,
    event_id,
    page_viewed,
    product_state,
    profile_updated,
    purchase,
    raw,
    refund,
    tombstone,
)

from sinks.database import Database
from sinks.registry import SINKS
from streams.dead_letters import DeadLetter, Reason
from streams.engine.batch import placed
from streams.events import STREAMS
from streams.facts import VisitorEvent
from streams.topics import CLEAN_EVENTS, SILVER_CUSTOMERS, SILVER_PRODUCTS, raw_topic

pytestmark = pytest.mark.real


def store_facts(store: Database, *events: VisitorEvent) -> list[DeadLetter]:
    """Store each as a batch of its own."""
    letters = []
    for event in events:
        number = int(event.event_id.replace("-", ""), 16)
        letters += store_records(store, [clean(event, number)])
    return letters


def store_records(store: Database, records: Sequence[ARecord]) -> list[DeadLetter]:
    """Store a batch; bronze has its records already."""
    for stream in STREAMS:
        SINKS[raw_topic(stream)](store, placed([raw(b"{}", record.offset, stream) for record in records], 0))
    return SINKS[CLEAN_EVENTS](store, placed(records, 0))


def rows(store: Database, query: str) -> list[tuple[object, ...]]:
    return store.transact(lambda connection: connection.execute(query.encode()).fetchall())


def totals(store: Database, customer: str = "c1") -> tuple[object, ...]:
    [found] = rows(
        store, f"SELECT orders, total_spent FROM silver.silver_customers WHERE customer_id = '{customer}'"
    )
    return found


def test_an_order_bought_twice_is_two_facts_and_counts_twice_in_silver(store: Database) -> None:
    first, second = purchase(1, amount="10.00"), purchase(2, amount="7.50", at=NOON + timedelta(hours=1))
    second.order_id = first.order_id
    assert store_facts(store, first, second) == []
    assert rows(store, "SELECT DISTINCT order_id FROM silver.silver_transactions") == [("o1",)]
    assert totals(store) == (2, Decimal("17.5"))


def test_a_refund_before_its_order_counts_at_once(store: Database) -> None:
    assert store_facts(store, refund(2, amount="4.00")) == []
    assert totals(store) == (0, Decimal(-4))
    assert store_facts(store, purchase(1, amount="10.00")) == []
    assert totals(store) == (1, Decimal(6))


def test_a_refund_without_an_order_is_a_fact_and_makes_the_total_negative(store: Database) -> None:
    lonely = refund(1, amount="4.00")
    lonely.order_id = "of nobody"
    assert store_facts(store, lonely) == []
    assert totals(store) == (0, Decimal(-4))


def test_a_refund_above_its_order_is_a_fact_as_it_came(store: Database) -> None:
    assert store_facts(store, purchase(1, amount="10.00"), refund(2, amount="25.00")) == []
    assert totals(store) == (1, Decimal(-15))


def test_items_that_do_not_add_up_leave_the_amount_as_it_came(store: Database) -> None:
    odd = purchase(1, amount="10.00")
    odd.items = [{"product_id": "p1", "category": "books", "quantity": 3, "unit_price": "9.00"}]
    assert store_facts(store, odd) == []
    assert rows(store, "SELECT amount, items -> 0 ->> 'unit_price' FROM silver.silver_transactions") == [
        (Decimal(10), "9.00")
    ]
    assert totals(store) == (1, Decimal(10))


@pytest.mark.parametrize("together", [True, False])
def test_of_one_id_with_two_contents_the_first_stays_and_only_it_counts(
    store: Database, *, together: bool
) -> None:
    first, second = purchase(1, "c1", "10.00"), purchase(1, "c2", "99.00")
    records = [clean(first, 1), clean(second, 2)]
    batches = [records] if together else [[record] for record in records]
    letters = [letter for batch in batches for letter in store_records(store, batch)]
    assert [(letter.reason, letter.sequence_number) for letter in letters] == [
        (Reason.CONFLICTING_EVENT_ID, f"{2:056d}")
    ]
    assert rows(store, "SELECT customer_id, orders, total_spent FROM silver.silver_customers") == [
        ("c1", 1, Decimal(10))
    ]


def test_an_id_known_in_another_table_is_a_conflict_there(store: Database) -> None:
    store_records(store, [clean(purchase(1), 1)])
    letters = store_records(store, [clean(page_viewed(1), 2)]) + store_records(
        store, [clean(profile_updated(1, name="Ada"), 3)]
    )
    assert [letter.reason for letter in letters] == [Reason.CONFLICTING_EVENT_ID] * 2
    assert rows(store, "SELECT FROM silver.silver_product_events") == []
    assert rows(store, "SELECT FROM silver.silver_customer_events") == []


def test_sums_of_the_largest_amounts_are_exact(store: Database) -> None:
    # Ten thousand of them are more than eighteen digits.
    for n in range(0, 12_000, 1_200):
        records = [clean(purchase(n + i, amount="9999999999.9999"), n + i) for i in range(1_200)]
        assert SINKS[CLEAN_EVENTS](store, placed(records, 0)) == []
    assert totals(store) == (12_000, 12_000 * Decimal("9999999999.9999"))


def test_totals_move_once_however_many_workers_read_the_same_and_again(store: Database) -> None:
    events = [purchase(n, f"c{n % 7}", "1.10") for n in range(1, 200)]
    events += [refund(n, f"c{n % 7}", "0.10") for n in range(200, 300)]
    records = [clean(event, n) for n, event in enumerate(events, 1)]

    def read(seed: int) -> None:
        random_ = random.Random(seed)
        mine = random_.sample(records, len(records))
        for at in range(0, len(mine), 37):
            batch = mine[at : at + 37]
            assert SINKS[CLEAN_EVENTS](store, placed(batch, 0)) == []
            if random_.random() < 0.3:
                SINKS[CLEAN_EVENTS](store, placed(batch, 0))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    expected = [
        (
            f"c{n}",
            sum(1 for event in events if event.customer_id == f"c{n}" and event.event_type == "purchase"),
            sum(
                (event.amount_base or Decimal(0)) * (1 if event.event_type == "purchase" else -1)
                for event in events
                if event.customer_id == f"c{n}"
            ),
        )
        for n in range(7)
    ]
    found = rows(store, "SELECT customer_id, orders, total_spent FROM silver.silver_customers ORDER BY 1")
    assert found == expected


CUSTOMER = """
    SELECT email, name, email_hash, email_domain, country, is_deleted, orders, acquisition_channel
    FROM silver.silver_customers
"""
ADA = {"email": "a@b.c", "name": "Ada", "email_hash": "f00", "email_domain": "b.c", "country": "DE"}
ACQUIRED = {"acquisition_channel": "email", "acquisition_at": NOON, "acquisition_event_id": event_id(9)}


def test_a_deletion_ends_personal_columns_and_nothing_else(store: Database) -> None:
    store_facts(store, purchase(1))
    SINKS[SILVER_CUSTOMERS](store, placed([customer_state("c1", (1, 1), **ADA, **ACQUIRED)], 0))
    assert rows(store, CUSTOMER) == [("a@b.c", "Ada", "f00", "b.c", "DE", False, 1, "email")]
    deleted = customer_state("c1", (1, 2), country="DE", is_deleted=True, **ACQUIRED)
    SINKS[SILVER_CUSTOMERS](store, placed([deleted], 0))
    assert rows(store, CUSTOMER) == [(None, None, None, None, "DE", True, 1, "email")]
    SINKS[SILVER_CUSTOMERS](store, placed([customer_state("c1", (1, 1), **ADA, **ACQUIRED)], 0))
    assert rows(store, CUSTOMER) == [(None, None, None, None, "DE", True, 1, "email")]
    SINKS[SILVER_CUSTOMERS](store, placed([customer_state("c1", (1, 3), **ADA, **ACQUIRED)], 0))
    assert rows(store, CUSTOMER) == [("a@b.c", "Ada", "f00", "b.c", "DE", False, 1, "email")]


def test_a_tombstone_ends_personal_columns_and_keeps_what_facts_gave(store: Database) -> None:
    store_facts(store, purchase(1))
    SINKS[SILVER_CUSTOMERS](store, placed([customer_state("c1", (1, 1), **ADA, **ACQUIRED)], 0))
    for revision in ((1, 0), (1, 2), (1, 1)):
        SINKS[SILVER_CUSTOMERS](store, placed([tombstone("c1", revision)], 0))
        gone = revision != (1, 0)
        assert rows(store, CUSTOMER)[0][0] == (None if gone else "a@b.c")
    assert rows(store, CUSTOMER) == [(None, None, None, None, "DE", True, 1, "email")]


def test_a_state_that_began_anew_replaces_the_profile_and_not_an_earlier_acquisition(
    store: Database,
) -> None:
    SINKS[SILVER_CUSTOMERS](store, placed([customer_state("c1", (1, 900), **ADA, **ACQUIRED)], 0))
    later = {
        "acquisition_channel": "direct",
        "acquisition_at": NOON + timedelta(hours=1),
        "acquisition_event_id": event_id(10),
    }
    SINKS[SILVER_CUSTOMERS](store, placed([customer_state("c1", (2, 1), country="FR", **later)], 0))
    assert rows(store, CUSTOMER) == [(None, None, None, None, "FR", False, 0, "email")]


@pytest.mark.parametrize("topic", [SILVER_CUSTOMERS, SILVER_PRODUCTS])
def test_of_all_revisions_in_any_order_the_highest_stays(
    migrated_url: str, store: Database, topic: str
) -> None:
    make, table = (
        (lambda revision, text: customer_state("c1", revision, country=text), "silver_customers")
        if topic == SILVER_CUSTOMERS
        else (lambda revision, text: product_state("p1", revision, category=text), "silver_products")
    )
    column = "country" if topic == SILVER_CUSTOMERS else "category"
    revisions = [(epoch, offset) for epoch in (1, 2) for offset in (3, 5, 40)]
    random_ = random.Random(7)
    for _ in range(5):
        empty_tables(migrated_url)
        order = random_.sample(revisions * 2, len(revisions) * 2)
        size = random_.randrange(1, 5)
        records = [make(revision, f"{revision}") for revision in order]
        for at in range(0, len(records), size):
            SINKS[topic](store, placed(records[at : at + size], 0))
        assert rows(store, f"SELECT {column} FROM silver.{table}") == [("(2, 40)",)]
