"""Conservation must find every way in which something is lost, doubled or invented."""

from decimal import Decimal

import psycopg
import pytest
import sink_examples as examples
from sink_examples import NOON, ARecord, clean, customer_state, purchase, raw, refund

from sinks.conservation import Agreement, StreamDay, agreements, stream_days
from sinks.database import Database
from sinks.registry import SINKS
from streams.dead_letters import DeadLetter, FieldError, Reason, encode_dead_letter
from streams.engine.batch import placed
from streams.facts import encode_fact
from streams.topics import CLEAN_EVENTS, DEAD_LETTERS, SILVER_CUSTOMERS, SILVER_SESSIONS

pytestmark = pytest.mark.real


DOUBLED = f"""
    UPDATE silver.dead_letters SET sequence_number = (
        SELECT sequence_number FROM silver.silver_transactions WHERE event_id = '{examples.event_id(2)}'
    )
"""


def write(store: Database, topic: str, *records: ARecord) -> None:
    for letter in SINKS[topic](store, placed(records, 0)):
        SINKS[DEAD_LETTERS](store, placed([ARecord(encode_dead_letter(letter))], 0))


def broken(number: int) -> ARecord:
    identity = examples.identity(number)
    letter = DeadLetter(
        stream="transaction-events",
        stream_epoch=identity.stream_epoch,
        shard=identity.shard,
        sequence_number=identity.sequence_number,
        sub_sequence_number=0,
        partition_key="key",
        stage="clean",
        reason=Reason.NOT_JSON,
        errors=[FieldError("$", "no")],
        payload=b"{",
        arrived_at=NOON,
        failed_at=NOON,
        processor="clean",
        processor_version="1",
    )
    return ARecord(encode_dead_letter(letter))


@pytest.fixture
def whole(store: Database) -> Database:
    """A purchase, its repeat as another record, a refund, and a broken record: everything in its place."""
    bought, returned = purchase(1), refund(2)
    raws = [
        raw(encode_fact(bought), 1),
        raw(encode_fact(bought), 3),
        raw(encode_fact(returned), 2),
        raw(b"{", 4),
    ]
    write(store, "raw.transaction-events", *raws)
    write(store, CLEAN_EVENTS, clean(bought, 1), clean(bought, 3), clean(returned, 2))
    write(store, DEAD_LETTERS, broken(4))
    return store


def found(store: Database) -> StreamDay:
    (day,) = store.transact(stream_days)
    return day


def change(store: Database, statement: str) -> None:
    def work(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        connection.execute(statement.encode())

    store.transact(work)


def test_each_bronze_row_is_in_exactly_one_place(whole: Database) -> None:
    day = found(whole)
    assert (day.bronze, day.facts, day.duplicates, day.dead_letters) == (4, 2, 1, 1)
    assert (day.lost, day.doubled, day.facts_without_bronze) == (0, 0, 0)
    assert day.is_conserved


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (f"DELETE FROM silver.silver_transactions WHERE event_id = '{examples.event_id(2)}'", "lost"),
        ("DELETE FROM silver.dead_letters", "lost"),
        (
            f"DELETE FROM bronze.bronze_transaction_events WHERE event_id = '{examples.event_id(2)}'",
            "facts_without_bronze",
        ),
        (DOUBLED, "doubled"),
        ("UPDATE silver.dead_letters SET status = 'replayed'", "lost"),
    ],
)
def test_a_row_that_is_missing_or_twice_is_found(whole: Database, damage: str, where: str) -> None:
    change(whole, damage)
    day = found(whole)
    assert not day.is_conserved
    assert getattr(day, where) == 1


def test_a_replay_that_was_a_duplicate_under_a_corrected_id_is_in_its_place(whole: Database) -> None:
    change(
        whole,
        f"""
        UPDATE silver.dead_letters
        SET status = 'replayed', replayed_payload = '{{}}', event_id = '{examples.event_id(1).upper()}'
        """,
    )
    day = found(whole)
    assert (day.replayed, day.dead_letters, day.is_conserved) == (1, 0, True)
    change(whole, f"UPDATE silver.dead_letters SET event_id = '{examples.event_id(9)}'")
    assert found(whole).lost == 1
    change(whole, "UPDATE silver.dead_letters SET event_id = 'no uuid'")
    assert found(whole).lost == 1


def test_events_orders_and_money_agree_between_facts_sessions_and_customers(whole: Database) -> None:
    session = examples.session_day("c1", (1, 1), NOON, events=2)
    write(whole, SILVER_SESSIONS, session)
    write(whole, SILVER_CUSTOMERS, customer_state("c1", (1, 1)))
    change(whole, "UPDATE silver.silver_sessions SET purchases = 1, revenue_base = 6")
    pairs = whole.transact(agreements)
    assert {pair.what for pair in pairs} == {"events", "purchases", "revenue", "ids"}
    assert all(pair.holds for pair in pairs), pairs
    assert Agreement("revenue", "facts", Decimal(6), "customers", Decimal(6)) in pairs


@pytest.mark.parametrize("in_a_session", [False, True])
def test_what_was_too_old_for_sessions_is_expected_in_none_unless_it_had_come_before(
    whole: Database, in_a_session: bool
) -> None:
    """A repeat of an old event is noted as too old, too; the session of the first one has it."""
    write(whole, SILVER_CUSTOMERS, customer_state("c1", (1, 1)))
    for table in ("silver_transactions", "silver_product_events"):
        change(
            whole,
            f"""
            INSERT INTO silver.silver_late_events (event_id, occurred_at, lateness_seconds, outcome)
            SELECT event_id, occurred_at, 99999999, 'beyond_retention' FROM silver.{table}
            """,
        )
    if in_a_session:
        write(whole, SILVER_SESSIONS, examples.session_day("c1", (1, 1), NOON, events=2))
        change(whole, "UPDATE silver.silver_sessions SET purchases = 1, revenue_base = 6")
    pairs = whole.transact(agreements)
    assert all(pair.holds for pair in pairs), pairs


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE silver.silver_sessions SET events = events + 1",
        "UPDATE silver.silver_sessions SET revenue_base = 5.99",
        "UPDATE silver.silver_customers SET orders = 2",
        "UPDATE silver.silver_customers SET total_spent = 0",
        """
        INSERT INTO silver.silver_system_logs (event_id, content_hash, occurred_at, arrived_at, stream,
            stream_epoch, shard, sequence_number, sub_sequence_number, service, level, message)
        SELECT event_id, 1, occurred_at, arrived_at, 'system-logs', 1, 's', '1', 0, 'a', 'info', ''
        FROM silver.silver_transactions LIMIT 1
        """,
    ],
)
def test_a_figure_that_differs_is_found(whole: Database, damage: str) -> None:
    write(whole, SILVER_SESSIONS, examples.session_day("c1", (1, 1), NOON, events=2))
    change(whole, "UPDATE silver.silver_sessions SET purchases = 1, revenue_base = 6")
    change(whole, damage)
    assert not all(pair.holds for pair in whole.transact(agreements))
