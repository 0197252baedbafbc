"""Transport identity: where on Kinesis a record came from, carried through Kafka in headers.

A producer's retry makes a new sequence number; a re-read of Kinesis makes the same one. Bronze and dead
letters dedupe on it, because a broken record may have no usable `event_id`.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, beyond which no instant can be given."""
_INT64 = 2**63
_INT32 = 2**31

Headers = list[tuple[str, str | bytes | None]]
"""As the Kafka client takes them."""


class TransportIdentity(NamedTuple):
    """The identity of a Kinesis record, with what else Kinesis says of it.

    `stream_epoch` is the stream's creation time (milliseconds since 1970): a stream that was deleted and made
    again, or an emulator that was restarted, starts its sequence numbers again.
    """

    stream: str
    stream_epoch: int
    shard: str
    sequence_number: str
    sub_sequence_number: int
    partition_key: str
    arrived_at_ms: int
    attempt: int = 0

    @property
    def arrived_at(self) -> datetime:
        """The instant Kinesis took the record, the same on every re-read."""
        return instant_of_ms(self.arrived_at_ms)


def instant_of_ms(ms: int) -> datetime:
    """Give the UTC instant of milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_headers(identity: TransportIdentity) -> Headers:
    """Give the Kafka headers of a record; the stream is known by its topic."""
    return [
        ("kinesis_stream_epoch", b"%d" % identity.stream_epoch),
        ("kinesis_shard", identity.shard.encode()),
        ("kinesis_sequence", identity.sequence_number.encode()),
        ("kinesis_sub_sequence", b"%d" % identity.sub_sequence_number),
        ("kinesis_partition_key", identity.partition_key.encode(errors="replace")),
        ("kinesis_arrived_at", b"%d" % identity.arrived_at_ms),
        ("attempt", b"%d" % identity.attempt),
    ]


def identity_of(stream: str, partition: int, record: Any) -> TransportIdentity:
    """Give the identity of a Kafka record of a raw or clean topic.

    A record that another program wrote into a raw topic has none of our headers: its place in Kafka is its
    identity then.

    Args:
        stream: the topic's stream.
        partition: where the record stands.
        record: with `headers`, `key`, `offset` and `timestamp` (`streams.engine.batch.Record`).
    """
    try:
        return from_headers(stream, record.headers)
    except ValueError:
        key = (record.key or b"").decode(errors="replace")
        arrived_at_ms = record.timestamp if 0 <= record.timestamp <= LAST_MS else 0
        return TransportIdentity(stream, 0, f"kafka-{partition}", str(record.offset), 0, key, arrived_at_ms)


def from_headers(stream: str, headers: Iterable[tuple[str, bytes]]) -> TransportIdentity:
    """Read a record's identity from its headers.

    Raises:
        ValueError: a header is missing, is no number or is out of range; the record was not forwarded by our
            workers.
    """
    return from_header_map(stream, dict(headers))


def from_header_map(stream: str, found: Mapping[str, bytes]) -> TransportIdentity:
    """Read a record's identity from its headers by name; as `from_headers`."""
    try:
        # By position: this is done for every record at every hop.
        identity = TransportIdentity(
            stream,
            int(found["kinesis_stream_epoch"]),
            found["kinesis_shard"].decode(),
            found["kinesis_sequence"].decode(),
            int(found["kinesis_sub_sequence"]),
            found["kinesis_partition_key"].decode(),
            int(found["kinesis_arrived_at"]),
            int(found.get("attempt", b"0")),
        )
    except KeyError as missing:
        raise ValueError(f"record without the header {missing}") from missing
    except (TypeError, AttributeError) as null:
        raise ValueError(f"record with a header that is null: {null}") from null
    _, epoch, shard, sequence, sub_sequence, partition_key, arrived_at_ms, attempt = identity
    if not (
        0 <= arrived_at_ms <= LAST_MS
        and 0 <= epoch < _INT64
        and 0 <= sub_sequence < _INT64
        and 0 <= attempt < _INT32
    ):
        raise ValueError("record with a header that is out of range")
    if "\0" in shard or "\0" in sequence or "\0" in partition_key:
        raise ValueError("record with a NUL character in a header, which no table can hold")
    return identity
