"""What the tables hold after batches, whatever their order and repetition."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sink_databases import empty_tables
from sink_examples import (
    NOON,
    ARecord,
    clean,
    customer_state,
    event_id,
    identity,
    log_line,
    page_viewed,
    product_listed,
    product_state,
    profile_updated,
    purchase,
    raw,
    refund,
    session_day,
    silver,
    tombstone,
)

from sinks.database import Database
from sinks.records import Failure, dead_letter
from sinks.registry import SINKS
from sinks.retention import drop_bronze_before
from sinks.writers.facts import write_facts
from sinks.writers.payloads import BronzeBehindError
from streams.dead_letters import DeadLetter, Reason, encode_dead_letter
from streams.engine.batch import placed
from streams.silver import Identity, LateEvent
from streams.topics import (
    CLEAN_EVENTS,
    CLEAN_LOGS,
    CLEAN_PRODUCTS,
    DEAD_LETTERS,
    SILVER_CUSTOMERS,
    SILVER_IDENTITIES,
    SILVER_LATE_EVENTS,
    SILVER_PRODUCTS,
    SILVER_SESSIONS,
    raw_topic,
)

pytestmark = pytest.mark.real

RAW = raw_topic("transaction-events")
Rows = list[tuple[Any, ...]]


def query(store: Database, sql: str) -> Rows:
    return store.transact(lambda connection: connection.execute(sql.encode()).fetchall())


def write(store: Database, topic: str, *records: ARecord) -> list[DeadLetter]:
    return SINKS[topic](store, placed(records, 0))


def customers(store: Database) -> Rows:
    return query(
        store,
        "SELECT customer_id, orders, total_spent FROM silver.silver_customers ORDER BY customer_id",
    )


# any order, any repetition

EVENTS = [
    *[clean(purchase(n, f"c{n % 3}", f"{n}.25", NOON - timedelta(days=400 * n)), n) for n in range(1, 7)],
    *[clean(refund(n, f"c{n % 3}", "1.10"), n) for n in range(7, 9)],
    *[clean(page_viewed(n, f"c{n % 4}", page_url="/é"), n) for n in range(9, 12)],
    clean(profile_updated(12, "c1", email="a@b.c", country="DE"), 12),
]
STATES = {
    SILVER_CUSTOMERS: [
        customer_state(f"c{n % 3}", (1, n), country="DE" if n > 4 else "FR") for n in range(8)
    ],
    SILVER_PRODUCTS: [product_state("p1", (1, n), price=Decimal(n)) for n in range(4)],
    SILVER_SESSIONS: [
        session_day("v", (1, 1), NOON),
        session_day("v", (1, 2), NOON, NOON + timedelta(hours=2)),
        tombstone("v|2026-03-01", (1, 3)),
        session_day("v", (2, 0), NOON + timedelta(hours=1), events=7),
        session_day("w", (1, 4), NOON),
    ],
    SILVER_IDENTITIES: [
        silver(Identity(anonymous_id=a, customer_id=c, seen_at=NOON), a, (1, 1)) for a in "ab" for c in "cd"
    ],
}
TABLES = {
    CLEAN_EVENTS: (
        "silver_transactions",
        "silver_product_events",
        "silver_customer_events",
        "silver_customers",
    ),
    SILVER_CUSTOMERS: ("silver_customers",),
    SILVER_PRODUCTS: ("silver_products",),
    SILVER_SESSIONS: ("silver_sessions",),
    SILVER_IDENTITIES: ("silver_identities",),
}


def contents(store: Database, topics: Sequence[str]) -> dict[str, Rows]:
    names = sorted({name for topic in topics for name in TABLES[topic]})
    return {
        name: query(
            store,
            f"SELECT to_jsonb(t) - 'loaded_at' - 'updated_at' FROM silver.{name} t ORDER BY 1",
        )
        for name in names
    }


@pytest.mark.parametrize(
    "given_batches",
    [
        {CLEAN_EVENTS: EVENTS},
        *({topic: records} for topic, records in STATES.items()),
        {CLEAN_EVENTS: EVENTS, **STATES},
    ],
    ids=["facts", *STATES, "all"],
)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the tables are emptied below
)
@given(seed=st.integers(0, 2**32))
def test_tables_end_the_same_in_any_order_with_repeats_and_replays(
    store: Database, migrated_url: str, given_batches: dict[str, list[ARecord]], seed: int
) -> None:
    empty_tables(migrated_url)
    for topic, records in given_batches.items():
        write(store, topic, *records)
    expected = contents(store, list(given_batches))
    assert all(expected.values())

    empty_tables(migrated_url)
    chance = random.Random(seed)
    one_by_one = [(topic, record) for topic, records in given_batches.items() for record in records]
    shuffled = chance.sample(one_by_one, len(one_by_one)) + chance.choices(one_by_one, k=8)
    while shuffled:
        size = chance.randint(1, 6)
        batch, shuffled = shuffled[:size], shuffled[size:]
        for topic in {topic for topic, _ in batch}:
            records = [record for of, record in batch if of == topic]
            for _ in range(chance.randint(1, 2)):
                assert write(store, topic, *records) == []
    assert contents(store, list(given_batches)) == expected


# bronze


def test_bronze_keeps_exactly_what_came_for_any_day_of_arrival(store: Database) -> None:
    values = [b' {"a" : 1.10}', b'{"a": "\\u0000"}', b"\xff\0", b"", b"not json", b'{"x": "\\ud800"}']
    records = [raw(v, n, at=NOON - timedelta(days=n)) for n, v in enumerate(values)]
    for _ in range(2):
        assert write(store, RAW, *records) == []
    stored = query(
        store,
        """
        SELECT coalesce(raw, convert_to(payload::text, 'UTF8'))
        FROM bronze.bronze_transaction_events ORDER BY arrived_at DESC
        """,
    )
    assert [value for (value,) in stored] == values


def test_bronze_takes_what_is_known_and_what_begins_a_day_together(store: Database) -> None:
    write(store, RAW, raw(b"1", 1))
    write(store, RAW, raw(b"1", 1), raw(b"2", 2, at=NOON + timedelta(days=1)), raw(b"{", 3))
    stored = query(store, "SELECT payload::text, raw FROM bronze.bronze_transaction_events")
    assert sorted(stored, key=str) == [("1", None), ("2", None), (None, b"{")]


def test_a_replay_is_not_stored_again_in_bronze(store: Database) -> None:
    write(store, RAW, raw(b"{}", 1), raw(b'{"corrected": 1}', 2, attempt=1))
    assert query(store, "SELECT payload::text FROM bronze.bronze_transaction_events") == [("{}",)]


def test_json_that_only_the_database_refuses_is_stored_as_bytes(store: Database) -> None:
    deep = b"[" * 900 + b"]" * 900
    occurs = b'{"occurred_at": "0001-01-01T00:00:00+23:59", "event_type": "purchase"}'
    assert write(store, RAW, raw(deep, 1), raw(occurs, 2), raw(b"{}", 3)) == []
    assert query(store, "SELECT count(*) FROM bronze.bronze_transaction_events") == [(3,)]


def test_a_clean_record_without_our_headers_becomes_a_dead_letter(store: Database) -> None:
    value = clean(purchase(1), 1).value
    (letter,) = write(store, CLEAN_EVENTS, ARecord(value, b"k", offset=5))
    assert (letter.stream, letter.sequence_number, letter.payload) == (CLEAN_EVENTS, "5", value)
    assert write(store, DEAD_LETTERS, as_record(letter)) == []
    assert len(query(store, "SELECT FROM silver.dead_letters")) == 1


# facts


def test_totals_move_only_with_facts_that_are_new(store: Database) -> None:
    batch = [clean(purchase(1), 1), clean(purchase(2, amount="2.50"), 2), clean(refund(3), 3)]
    again = [clean(purchase(1), 11), clean(purchase(4, "c2"), 4)]
    for records in (batch, batch, again):
        write(store, CLEAN_EVENTS, *records)
    assert customers(store) == [("c1", 2, Decimal("8.5")), ("c2", 1, Decimal(10))]


def test_records_of_two_partitions_are_told_apart_though_their_offsets_are_the_same(store: Database) -> None:
    write(store, RAW, raw(b"{}", 1), raw(b"{}", 2), raw(b"{}", 3))
    first, other = clean(purchase(1, "c1", "1.00"), 1), clean(purchase(1, "c2", "2.00"), 2)
    alone = clean(purchase(3, "c3", "4.00"), 3)
    first.offset = other.offset = alone.offset = 7
    letters = SINKS[CLEAN_EVENTS](store, [(0, first), (1, other), (2, alone)])
    assert [(letter.sequence_number, letter.reason) for letter in letters] == [
        (dict(other.headers)["kinesis_sequence"].decode(), Reason.CONFLICTING_EVENT_ID)
    ]
    assert customers(store) == [("c1", 1, Decimal(1)), ("c3", 1, Decimal(4))]


def test_a_change_is_noted_once_with_its_transaction(store: Database) -> None:
    write(store, CLEAN_EVENTS, clean(purchase(1), 1), clean(purchase(2), 2))
    write(store, CLEAN_EVENTS, clean(purchase(1), 1))
    write(store, SILVER_SESSIONS, session_day("v", (1, 1), NOON))
    changes = query(store, "SELECT kind, key, day FROM ops.ops_changes ORDER BY kind")
    day = NOON.date()
    assert changes == [("customer", "c1", day), ("product", "p1", day), ("session", "v", day)]
    assert query(store, "SELECT count(DISTINCT xid) FROM ops.ops_changes") == [(2,)]


def test_logs_and_the_catalogue_have_facts(store: Database) -> None:
    write(store, CLEAN_LOGS, clean(log_line(1), 1))
    write(store, CLEAN_PRODUCTS, clean(product_listed(2), 2))
    assert query(store, "SELECT service, latency_ms, stream FROM silver.silver_system_logs") == [
        ("api", 1.5, "system-logs")
    ]
    assert query(store, "SELECT event_type, product_id FROM silver.silver_product_events") == [
        ("product_listed", "p1")
    ]


def test_hops_of_a_batch_are_sampled_once(store: Database) -> None:
    now = datetime.now(UTC)
    event = purchase(1)
    event.arrived_at = now
    record = clean(event, 1)
    record.timestamp = int(now.timestamp() * 1000) + 900
    for _ in range(2):
        write(store, CLEAN_EVENTS, record)
    write(store, RAW, raw(b"{}", 1, at=now))
    hops = query(store, "SELECT hop, round(age_seconds::numeric, 1) FROM ops.ops_hops ORDER BY hop")
    assert [hop for hop, _ in hops] == ["bronze", "clean", "ingest", "silver"]
    assert dict(hops)["ingest"] == Decimal("0.4")
    assert dict(hops)["clean"] == Decimal("0.9")
    assert all(0 <= age < 30 for _, age in hops)


@pytest.mark.parametrize("together", [True, False])
def test_another_content_under_a_known_id_is_a_dead_letter_with_its_payload(
    store: Database, together: bool
) -> None:
    write(store, RAW, raw(b'{"first": 1}', 1), raw(b'{"other": 1}', 2))
    first, other = clean(purchase(1, amount="10"), 1), clean(purchase(1, amount="99"), 2)
    batches = [[first, other]] if together else [[first], [other]]
    letters = [letter for batch in batches for letter in write(store, CLEAN_EVENTS, *batch)]
    assert [(x.reason, x.payload, x.event_id, x.stage) for x in letters] == [
        (Reason.CONFLICTING_EVENT_ID, b'{"other": 1}', event_id(1), "sink")
    ]
    assert customers(store) == [("c1", 1, Decimal(10))]
    assert [x.sequence_number for x in write(store, CLEAN_EVENTS, other)] == [letters[0].sequence_number]


@pytest.mark.parametrize("together", [True, False])
def test_a_known_id_is_known_to_other_tables_too(store: Database, together: bool) -> None:
    first, other = clean(page_viewed(1), 1), clean(purchase(1), 2)
    write(store, RAW, raw(b'{"other": 1}', 2))
    batches = [[first, other]] if together else [[first], [other]]
    letters = [letter for batch in batches for letter in write(store, CLEAN_EVENTS, *batch)]
    assert [(x.reason, x.payload) for x in letters] == [(Reason.CONFLICTING_EVENT_ID, b'{"other": 1}')]
    assert query(store, "SELECT count(*) FROM silver.silver_product_events") == [(1,)]
    assert customers(store) == []


def test_the_same_record_understood_otherwise_is_no_conflict(store: Database) -> None:
    event = purchase(1)
    write(store, CLEAN_EVENTS, clean(event, 1))
    event.content_hash += 1
    assert write(store, CLEAN_EVENTS, clean(event, 1)) == []


def test_a_conflict_waits_for_bronze_and_then_asks_for_another_try(store: Database) -> None:
    batch = [clean(purchase(1, amount="10"), 1), clean(purchase(1, amount="99"), 2)]
    write(store, RAW, raw(b"{}", 3))  # of the same day, so that bronze has kept it
    with pytest.raises(BronzeBehindError, match="is the bronze sink running"):
        write_facts(CLEAN_EVENTS, store, placed(batch, 0), bronze_wait_seconds=0.1)
    write(store, RAW, raw(b"{}", 1), raw(b"{}", 2))
    assert len(write(store, CLEAN_EVENTS, *batch)) == 1


def test_a_conflict_of_a_day_that_bronze_no_longer_has_is_a_letter_without_payload(store: Database) -> None:
    events = [purchase(1, amount="10"), purchase(1, amount="99")]
    batch = [clean(event, number) for number, event in enumerate(events, 1)]
    write(store, RAW, raw(b"{}", 3))
    with pytest.raises(BronzeBehindError):
        write_facts(CLEAN_EVENTS, store, placed(batch, 0), bronze_wait_seconds=0)
    write(store, RAW, raw(b"{}", 4, at=NOON + timedelta(days=1)))
    kept_from = NOON.date() + timedelta(days=1)
    assert all(of.day < kept_from for of in drop_bronze_before(store, kept_from))
    letters = write_facts(CLEAN_EVENTS, store, placed(batch, 0), bronze_wait_seconds=0)
    assert [(x.reason, x.payload) for x in letters] == [(Reason.CONFLICTING_EVENT_ID, None)]
    assert write(store, DEAD_LETTERS, as_record(letters[0])) == []


def test_rows_that_the_database_refuses_are_dead_letters_and_the_rest_is_written(store: Database) -> None:
    records = [clean(purchase(n, f"c{n}"), n) for n in range(20)]
    records[3] = clean(purchase(3, "c3", amount="1e20"), 3)
    records[11] = clean(page_viewed(11, page_url="/\0"), 11)
    write(store, RAW, *[raw(b'{"n": %d}' % n, n) for n in range(20)])
    write(store, raw_topic("product-events"), raw(b'{"n": 11}', 11))
    letters = write(store, CLEAN_EVENTS, *records)
    assert sorted((x.reason, x.payload) for x in letters) == [
        (Reason.REFUSED_BY_SINK, b'{"n": 11}'),
        (Reason.REFUSED_BY_SINK, b'{"n": 3}'),
    ]
    assert query(store, "SELECT count(*) FROM silver.silver_transactions") == [(18,)]
    assert len(customers(store)) == 18


# entities


def test_a_profile_leaves_the_totals_alone_and_a_lower_revision_does_nothing(store: Database) -> None:
    write(store, CLEAN_EVENTS, clean(purchase(1), 1))
    write(store, SILVER_CUSTOMERS, customer_state("c1", (2, 5), email="a@b.c", country="DE"))
    write(store, SILVER_CUSTOMERS, customer_state("c1", (1, 9), country="FR"))
    write(store, SILVER_CUSTOMERS, customer_state("c1", (2, 4), country="IT"))
    row = "SELECT email, country, orders, total_spent, is_deleted FROM silver.silver_customers"
    assert query(store, row) == [("a@b.c", "DE", 1, Decimal(10), False)]
    write(store, SILVER_CUSTOMERS, tombstone("c1", (2, 6)))
    assert query(store, row) == [(None, "DE", 1, Decimal(10), True)]


def test_sessions_of_a_day_are_replaced_whole_and_other_days_stay(store: Database) -> None:
    yesterday = NOON - timedelta(days=1)
    write(store, SILVER_SESSIONS, session_day("v", (1, 1), yesterday, day=yesterday))
    write(store, SILVER_SESSIONS, session_day("v", (1, 2), NOON, NOON + timedelta(hours=2)))
    write(store, SILVER_SESSIONS, session_day("v", (1, 3), NOON + timedelta(hours=2), events=9))
    write(store, SILVER_SESSIONS, session_day("v", (1, 2), NOON))
    rows = query(store, "SELECT started_at, events FROM silver.silver_sessions ORDER BY started_at")
    assert rows == [(yesterday, 1), (NOON + timedelta(hours=2), 9)]


def test_an_entity_that_the_database_refuses_is_a_dead_letter(store: Database) -> None:
    good, bad = product_state("p1", (1, 1)), product_state("p2", (1, 2), price=Decimal("1e20"))
    (letter,) = write(store, SILVER_PRODUCTS, good, bad)
    assert (letter.stream, letter.payload, letter.reason) == (
        SILVER_PRODUCTS,
        bad.value,
        Reason.REFUSED_BY_SINK,
    )
    assert query(store, "SELECT product_id FROM silver.silver_products") == [("p1",)]


def test_of_late_events_the_first_outcome_stays(store: Database) -> None:
    def late(outcome: Any, offset: int) -> ARecord:
        return silver(
            LateEvent(event_id=event_id(1), occurred_at=NOON, lateness_seconds=2.5, outcome=outcome),
            event_id(1),
            (1, offset),
        )

    write(store, SILVER_LATE_EVENTS, late("started_session", 1), late("merged", 2))
    write(store, SILVER_LATE_EVENTS, late("joined_sessions", 3))
    assert query(store, "SELECT outcome FROM silver.silver_late_events") == [("started_session",)]


# dead letters


def as_record(letter: DeadLetter) -> ARecord:
    return ARecord(encode_dead_letter(letter), b"key", offset=letter.attempt)


def letter_of(attempt: int, reason: Reason = Reason.NOT_JSON, message: str = "at 3") -> ARecord:
    failure = Failure(reason, message)
    return as_record(
        dead_letter(identity(1, attempt=attempt), failure, failed_at=NOON, payload=b"{%d" % attempt)
    )


STATUS = "SELECT status, reason, attempt, payload FROM silver.dead_letters"


def test_a_second_failure_updates_the_row_and_keeps_the_payload(store: Database) -> None:
    write(store, DEAD_LETTERS, letter_of(0))
    assert query(store, STATUS) == [("pending", "not_json", 0, b"{0")]
    write(store, DEAD_LETTERS, letter_of(1, Reason.MISSING_FIELD))
    assert query(store, STATUS) == [("pending", "missing_field", 1, b"{0")]
    write(store, DEAD_LETTERS, letter_of(0), letter_of(1, Reason.MISSING_FIELD))
    assert query(store, STATUS) == [("pending", "missing_field", 1, b"{0")]


@pytest.mark.parametrize("together", [True, False])
def test_failing_twice_in_the_same_way_exhausts(store: Database, together: bool) -> None:
    letters = [letter_of(0), letter_of(1)]
    for batch in [letters] if together else [[letter] for letter in letters]:
        write(store, DEAD_LETTERS, *batch)
    assert query(store, STATUS) == [("exhausted", "not_json", 1, b"{0")]


def test_reading_the_topic_again_does_not_undo_a_replay(store: Database) -> None:
    write(store, DEAD_LETTERS, letter_of(0))
    replayed = "UPDATE silver.dead_letters SET status = 'replayed' RETURNING status"
    assert query(store, replayed) == [("replayed",)]
    write(store, DEAD_LETTERS, letter_of(0))
    assert query(store, STATUS)[0][0] == "replayed"
    write(store, DEAD_LETTERS, letter_of(1, message="at 4"))
    assert query(store, STATUS)[0][0] == "pending"


def test_the_payload_stays_what_came_also_when_a_correction_failed(store: Database) -> None:
    write(store, DEAD_LETTERS, letter_of(0))
    query(store, "UPDATE silver.dead_letters SET payload = NULL, replayed_payload = '{}' RETURNING 1")
    write(store, DEAD_LETTERS, letter_of(1, Reason.WRONG_TYPE))
    assert query(store, STATUS) == [("pending", "wrong_type", 1, None)]


@pytest.mark.parametrize("status", ["pending", "exhausted", "discarded"])
def test_a_fact_of_a_later_attempt_settles_the_letter_of_its_record(store: Database, status: str) -> None:
    settled = "SELECT status, attempt, event_id FROM silver.dead_letters"
    write(store, DEAD_LETTERS, letter_of(0))
    query(store, f"UPDATE silver.dead_letters SET status = '{status}' RETURNING 1")
    write(store, CLEAN_EVENTS, clean(purchase(7), 2, attempt=1), clean(purchase(8), 1))
    assert query(store, settled) == [(status, 0, None)]
    write(store, CLEAN_EVENTS, clean(purchase(9), 1, attempt=1))
    assert query(store, settled) == [("replayed", 0, event_id(9))]


def test_a_fact_of_an_attempt_that_is_past_settles_nothing(store: Database) -> None:
    write(store, DEAD_LETTERS, letter_of(2))
    write(store, CLEAN_EVENTS, clean(purchase(9), 1, attempt=1))
    assert query(store, STATUS) == [("pending", "not_json", 2, b"{2")]


def test_every_reason_of_the_closed_list_can_be_stored(store: Database) -> None:
    for attempt, reason in enumerate(Reason):
        write(store, DEAD_LETTERS, letter_of(attempt, reason))
    assert query(store, STATUS)[0][2] == len(Reason) - 1


def test_a_record_that_is_no_dead_letter_becomes_one(store: Database) -> None:
    (letter,) = write(store, DEAD_LETTERS, ARecord(b"what", b"k", offset=3))
    assert (letter.stream, letter.payload) == (DEAD_LETTERS, b"what")
