import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from streams.events import MAX_EVENT_BYTES
from streams.ingest.messages import KinesisRecord, Source, to_messages
from streams.ingest.source import LARGEST_RECORD_BYTES
from streams.topics import MAX_MESSAGE_BYTES
from streams.transport import from_headers

SOURCE = Source("customer-events", 1_700_000_000_123, "shardId-000000000007")


def record(data: bytes, **fields: object) -> KinesisRecord:
    given_fields: dict[str, object] = {
        "sequence_number": "49590338271490256608559692538361571095921575989136588898",
        "sub_sequence_number": 0,
        "partition_key": "pk",
        "timestamp_millis": 1_700_000_000_999,
        "binary_data": data,
        **fields,
    }
    return KinesisRecord(**given_fields)  # type: ignore[arg-type]  # the fields are the caller's


def test_a_record_goes_to_its_streams_raw_topic_with_its_bytes_untouched() -> None:
    data = b' {"customer_id": "c1",  "x": 1.10}\n'
    [message] = to_messages(SOURCE, [record(data)])
    assert message.topic == "raw.customer-events"
    assert message.value is data
    assert message.key == b"c1"


def test_headers_tell_where_the_record_came_from() -> None:
    [message] = to_messages(SOURCE, [record(b"{}", sub_sequence_number=3, partition_key="å")])
    identity = from_headers("customer-events", message.headers)
    assert identity.stream_epoch == 1_700_000_000_123
    assert identity.shard == "shardId-000000000007"
    assert identity.sequence_number == "49590338271490256608559692538361571095921575989136588898"
    assert identity.sub_sequence_number == 3
    assert identity.partition_key == "å"
    assert identity.arrived_at == datetime(2023, 11, 14, 22, 13, 20, 999000, tzinfo=UTC)
    assert identity.attempt == 0


def test_a_record_that_cannot_be_read_has_its_partition_key() -> None:
    [message] = to_messages(SOURCE, [record(b"\xff\x00 no json", partition_key="visitor-9")])
    assert message.key == b"visitor-9"


def test_records_keep_their_order() -> None:
    records = [
        record(json.dumps({"customer_id": str(i)}).encode(), sequence_number=str(i)) for i in range(50)
    ]
    assert [m.value for m in to_messages(SOURCE, records)] == [r.binary_data for r in records]


@given(st.binary(max_size=200), st.text(min_size=1, max_size=20))
def test_no_record_is_refused(data: bytes, partition_key: str) -> None:
    [message] = to_messages(SOURCE, [record(data, partition_key=partition_key)])
    assert message.value == data


def test_the_largest_record_fits_a_message_with_its_key_and_headers() -> None:
    [message] = to_messages(SOURCE, [record(b"x", partition_key="\U0001f600" * 256)])
    besides = len(message.key) + sum(len(name) + len(value) for name, value in message.headers)
    assert besides + LARGEST_RECORD_BYTES < MAX_MESSAGE_BYTES
    assert MAX_EVENT_BYTES <= LARGEST_RECORD_BYTES
