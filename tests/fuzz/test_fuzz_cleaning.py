"""Any bytes end as one clean event that can be stored or as one dead letter, never as an exception.

The long variant is `make fuzz`.
"""

import json
import random
import re
from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge import END, ARecord, corpus, hostile_records, judge
from mutations import NUMBERS, TEXTS, TYPES
from sink_databases import new_database

from sinks.migrate import upgrade
from sinks.registry import SINKS, open_database
from streams.engine.batch import placed
from streams.events import STREAM_OF_TYPE, STREAMS, Stream
from streams.topics import CLEAN_EVENTS, CLEAN_LOGS, CLEAN_PRODUCTS, DEAD_LETTERS, raw_topic
from streams.transport import TransportIdentity, to_headers

NAMES = [
    *(
        "event_id",
        "occurred_at",
        "event_version",
        "customer_id",
        "anonymous_id",
        "context",
        "email",
        "country",
    ),
    *(
        "order_id",
        "amount",
        "currency",
        "items",
        "payment_method",
        "product_id",
        "quantity",
        "rating",
        "price",
    ),
    *("service", "level", "message", "latency_ms", "unknown"),
]
texts = st.sampled_from(TEXTS) | st.text(max_size=8)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=4)
    ),
    max_leaves=8,
)


def record_of(value: bytes, number: int = 0, stream: Stream = "customer-events") -> ARecord:
    headers: Any = to_headers(
        TransportIdentity(stream, 1, "s-0", str(number), 0, "k", int(END.timestamp() * 1000))
    )
    return ARecord(value, headers, number)


def reason_of(stream: Stream, value: bytes) -> str:
    (reason,) = judge(stream, [record_of(value)]).reasons
    return reason


@pytest.mark.parametrize(("name", "stream", "value"), [pytest.param(*each, id=each[0]) for each in corpus()])
def test_a_record_of_the_corpus_ends_as_its_name_says(name: str, stream: Stream, value: bytes) -> None:
    assert reason_of(stream, value) == name.rpartition(".")[2]


@given(value=st.binary(max_size=300), stream=st.sampled_from(STREAMS))
def test_any_bytes(value: bytes, stream: Stream) -> None:
    judge(stream, [record_of(value)])


@given(
    event_type=st.sampled_from(TYPES),
    fields=st.dictionaries(st.sampled_from(NAMES), values, max_size=6),
    changed=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(NUMBERS), max_size=2),
    data=st.data(),
)
def test_any_values_in_any_fields(
    event_type: str, fields: dict[str, Any], changed: dict[str, str], data: st.DataObject
) -> None:
    whole = {"event_type": event_type, "event_id": "6f1e9c1e-0000-4000-8000-00000000000a", **fields}
    text = json.dumps({**whole, **{name: f"\x02{raw}\x02" for name, raw in changed.items()}})
    for raw in changed.values():
        text = text.replace(f'"\\u0002{raw}\\u0002"', raw)
    stream = data.draw(st.sampled_from([STREAM_OF_TYPE[event_type]] * 9 + list(STREAMS)))
    judge(stream, [record_of(text.encode())])


@given(seed=st.integers(0, 2**40))
def test_any_change_of_a_right_event(seed: int) -> None:
    for stream, records in hostile_records(random.Random(seed), 20).items():
        judge(stream, records)


def test_the_changes_reach_every_reason_that_cleaning_has() -> None:
    found: Counter[str] = Counter()
    for stream, records in hostile_records(random.Random(1), 6_000).items():
        found += judge(stream, records, thorough=False).reasons
    assert found["accepted"] > 500
    assert set(found) >= {
        *("not_utf8", "not_json", "not_an_object", "unknown_event_type", "unknown_version", "missing_field"),
        *("wrong_type", "invalid_value", "invalid_timestamp", "future_timestamp", "unknown_currency"),
    }


# the real database


@pytest.fixture
def database_url(platform: Any) -> Any:
    with new_database(platform.postgres_url) as url:
        upgrade(url)
        yield url


def with_id(value: bytes | None, number: int) -> bytes | None:
    """Give a fact an id of its own: those made of one event would only be in conflict."""
    return re.sub(
        rb'"event_id":"[^"]{36}"', b'"event_id":"%s"' % str(UUID(int=number)).encode(), value or b"", count=1
    )


@pytest.mark.real
def test_postgres_takes_what_became_of_hostile_records(database_url: str) -> None:
    store = open_database(database_url, retry_seconds=30)
    outputs = []
    inputs = hostile_records(random.Random(7), 6_000)
    for number, (_name, stream, value) in enumerate(corpus(), start=10**6):
        inputs[stream].append(record_of(value, number, stream))
    for stream, records in inputs.items():
        assert not SINKS[raw_topic(stream)](store, placed(records, 0))
        outputs += judge(stream, records, thorough=False).outputs
    written: Counter[str] = Counter()
    for topic in (CLEAN_EVENTS, CLEAN_PRODUCTS, CLEAN_LOGS, DEAD_LETTERS):
        records_of_topic = [
            ARecord(with_id(output.value, offset), output.headers, offset, output.key)  # type: ignore[arg-type]  # they are bytes
            for offset, output in enumerate(outputs)
            if output.topic == topic
        ]
        letters = SINKS[topic](store, placed(records_of_topic, 0))
        assert not letters, [(letter.reason, letter.errors) for letter in letters[:3]]
        written[topic] += len(records_of_topic)
    stored = _count(store, "dead_letters")
    assert stored == len({output.key for output in outputs if output.topic == DEAD_LETTERS})
    facts = ("silver_customer_events", "silver_transactions", "silver_product_events", "silver_system_logs")
    assert sum(map(partial(_count, store), facts)) == len(outputs) - written[DEAD_LETTERS]
    assert min(written.values()) > 20
    store.close()


def _count(store: Any, table: str) -> int:
    return int(store.transact(lambda c: c.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()[0]))
