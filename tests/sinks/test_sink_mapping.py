import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
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
    profile_updated,
    purchase,
    raw,
    session_day,
    tombstone,
)

from sinks.mapping.bronze import bronze_row, bronze_rows, instant_of_text
from sinks.mapping.dead_letters import letter_row, rounds_of
from sinks.mapping.entities import SESSIONS, customers_of, session_days_of
from sinks.mapping.facts import STAGING, changed_fields, facts_of, signed_64
from sinks.records import Failure, dead_letter, without_nul
from streams.dead_letters import Reason
from streams.engine.batch import placed
from streams.events import DECODERS
from streams.silver import Revision
from streams.topics import CLEAN_EVENTS, CLEAN_LOGS, CLEAN_PRODUCTS

# bronze


@pytest.mark.parametrize(
    "value", [b'{"a": 1}', b' {"a" :\t1.10}\n', b'"\\u0000"', '{"a":"é"}'.encode(), b"[]", b"1"]
)
def test_json_is_kept_as_its_exact_text(value: bytes) -> None:
    row = bronze_row(identity(1), value)
    assert row.payload is not None
    assert (row.payload.encode(), row.raw) == (value, None)


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"a": NaN}', b'"\xff"', b'"\0"', b'{"a":1}{"b":2}', b"[" * 100_000, b"'a'"]
)
def test_what_is_no_json_is_kept_as_bytes(value: bytes) -> None:
    row = bronze_row(identity(1), value)
    assert (row.payload, row.raw, row.event_id) == (None, value, None)


def test_columns_of_bronze_hold_what_can_be_read() -> None:
    value = {"event_id": event_id(7), "event_type": "x" * 300, "occurred_at": "2026-03-01T12:00:00Z"}
    row = bronze_row(identity(1), json.dumps(value).encode())
    assert (row.event_id, row.event_type, row.occurred_at) == (event_id(7), "x" * 200, NOON)


def test_columns_of_bronze_are_null_where_nothing_can_be_read() -> None:
    value = b'{"event_id": "7", "event_type": 3, "occurred_at": "2026-03-01T12:00:00"}'
    row = bronze_row(identity(1), value)
    assert (row.event_id, row.event_type, row.occurred_at) == (None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01",
        "yesterday",
        "2026-02-30T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        12,
        None,
    ],
)
def test_an_instant_needs_a_date_a_time_and_an_offset(text: object) -> None:
    assert instant_of_text(text) is None


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T00:00:00.1234567Z", "2026-03-01T01:00:00.123456500+01:00", "2026-03-01T00:00:00.123457Z"],
)
def test_digits_beyond_the_microsecond_are_rounded_as_in_facts(text: str) -> None:
    event = f'{{"event_type": "log", "event_id": "{UUID(int=1)}", "occurred_at": "{text}", '
    event += '"service": "s", "level": "info", "message": "m"}'
    expected = DECODERS["system-logs"].decode(event).occurred_at
    assert instant_of_text(text) == expected == datetime(2026, 3, 1, 0, 0, 0, 123457, tzinfo=UTC)


def test_each_transport_identity_is_a_row_once_and_replays_none() -> None:
    records = [raw(b"2", 2), raw(b"1", 1), raw(b"2", 2), raw(b"3", 3, attempt=1)]
    rows = bronze_rows("transaction-events", placed(records, 0))
    assert [row.payload for row in rows] == ["1", "2"]


def test_a_record_of_another_program_is_known_by_its_place_in_kafka() -> None:
    rows = bronze_rows("transaction-events", placed([ARecord(b"{}", b"k", offset=9)] * 2, 3))
    assert [row[1:6] for row in rows] == [(0, "kafka-3", "9", 0, "k")]


# facts


def test_each_type_goes_to_its_table_with_a_value_for_each_column() -> None:
    events = [purchase(1), page_viewed(2), profile_updated(3, country="DE")]
    found = facts_of(CLEAN_EVENTS, placed((clean(event, n) for n, event in enumerate(events)), 0))
    found.facts.extend(facts_of(CLEAN_LOGS, placed([clean(log_line(4), 4)], 0)).facts)
    found.facts.extend(facts_of(CLEAN_PRODUCTS, placed([clean(product_listed(5), 5)], 0)).facts)
    assert [fact.table for fact in found.facts] == [
        "silver_transactions",
        "silver_product_events",
        "silver_customer_events",
        "silver_system_logs",
        "silver_product_events",
    ]
    assert all(len(fact.row) == len(STAGING[fact.table].types) for fact in found.facts)
    assert [fact.identity.stream for fact in found.facts] == [
        "transaction-events",
        "product-events",
        "customer-events",
        "system-logs",
        "product-events",
    ]


def test_records_that_deceive_a_joined_decoder_are_told_apart() -> None:
    good = clean(page_viewed(1), 1)
    broken = [ARecord(b'{"x":[{}', offset=2), ARecord(b"{}]}", offset=3)]
    found = facts_of(CLEAN_EVENTS, placed([good, *broken], 0))
    assert [fact.event_id for fact in found.facts] == [str(UUID(int=1))]
    assert [record.offset for (_, record), _ in found.foreign] == [2, 3]


def test_a_text_with_nul_is_refused_and_a_backslash_before_it_is_not() -> None:
    nul, escaped = page_viewed(1, query="a\0b"), page_viewed(2, query="a\\u0000b")
    in_json, profile = purchase(3), profile_updated(4, country="\0")
    in_json.items = [{"product_id": "\0"}]
    events = [nul, escaped, in_json, profile]
    found = facts_of(CLEAN_EVENTS, placed((clean(event, n) for n, event in enumerate(events)), 0))
    assert [fact.number for fact in found.facts] == [1]
    assert [fact.number for fact, _ in found.refused] == [0, 2, 3]


def test_personal_values_are_not_kept_with_the_fact() -> None:
    profile = {"email": "a@b.c", "name": None, "birth_year": 1980, "country": "DE", "marketing_opt_in": True}
    assert changed_fields(profile) == {
        "email": "set",
        "name": "cleared",
        "birth_year": "set",
        "country": "DE",
        "marketing_opt_in": True,
    }


@pytest.mark.parametrize(("number", "signed"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (-5, -5)])
def test_a_hash_fits_a_signed_bigint(number: int, signed: int) -> None:
    assert signed_64(number) == signed


# entities


def test_of_one_key_the_highest_revision_is_kept_sorted_by_key() -> None:
    records = [
        customer_state("b", (1, 5), country="DE"),
        customer_state("b", (2, 1), country="FR"),
        customer_state("b", (1, 9), country="IT"),
        customer_state("a", (1, 1)),
    ]
    entities = customers_of(placed(records, 0)).entities
    assert [(e.key, e.revision) for e in entities] == [(("a",), Revision(1, 1)), (("b",), Revision(2, 1))]
    assert "FR" in entities[1].rows[0]


def test_a_tombstone_of_a_day_is_a_day_without_sessions() -> None:
    found = session_days_of(
        placed([session_day("v|1", (1, 1), NOON), tombstone("v|1|2026-03-01", (1, 2))], 0)
    )
    (entity,) = found.entities
    assert (entity.key, entity.revision, entity.rows) == (("v|1", NOON.date()), (1, 2), [])


def test_a_tombstone_without_revision_is_foreign() -> None:
    found = customers_of(placed([ARecord(None, b"c1", offset=4)], 7))
    assert found.entities == []
    assert [(partition, record.offset) for (partition, record), _ in found.foreign] == [(7, 4)]


def test_a_session_has_a_value_for_each_column() -> None:
    (entity,) = session_days_of(placed([session_day("v", (1, 1), NOON)], 0)).entities
    assert [len(row) for row in entity.rows] == [len(SESSIONS.types)]


@pytest.mark.parametrize(("text", "stored"), [("a\0b", "a\ufffdb"), ("é", "é"), ("", "")])
def test_texts_of_entities_are_made_storable(text: str, stored: str) -> None:
    assert without_nul(text) == stored


def test_a_lone_surrogate_is_made_storable() -> None:
    without_nul("é\ud800").encode()


# dead letters


def test_attempts_of_one_record_are_written_in_their_order() -> None:
    rows = [
        letter_row(
            dead_letter(
                identity(number, attempt=attempt),
                Failure(Reason.NOT_JSON, "what?"),
                failed_at=NOON,
                payload=b"{",
            )
        )
        for number, attempt in [(1, 1), (2, 0), (1, 0), (1, 1)]
    ]
    found = [[(int(row.sequence_number), row.attempt) for row in r] for r in rounds_of(rows)]
    assert found == [[(1, 0), (2, 0)], [(1, 1)]]


def test_errors_of_a_letter_are_json_that_can_be_stored() -> None:
    letter = dead_letter(
        identity(1), Failure(Reason.INVALID_VALUE, "not \0 this"), failed_at=NOON, payload=b"\0"
    )
    row = letter_row(letter)
    assert msgspec.json.decode(row.errors) == [{"path": "$", "message": "not \ufffd this"}]
    assert row.payload == b"\0"
