"""Bytewax, with a source and a sink that hand over batches.

    python -m bench.stage.bytewax_flow BOOTSTRAP INPUT OUTPUT GROUP FOLDER

It keeps no changelog in Kafka: its state is made durable by snapshots in SQLite (its recovery store), here once a
second, as often as the others commit. Its own source and sink make an object for each record, and flush after each
poll; these take as much as is there at a time.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.stage.session import add_event, decode_events, encode_session, pack_state, unpack_state
from bench.stage.workload import PARTITIONS

MOST_AT_A_TIME = 10_000


class Partition(StatefulSourcePartition[Any, int]):
    """A partition of the input; an item is all that was fetched."""

    def __init__(self, bootstrap: str, topic: str, partition: int, offset: int | None) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "unused: nothing is committed",
                "enable.auto.commit": False,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        self._offset = offset or 0
        self._consumer.assign([TopicPartition(topic, partition, self._offset)])

    def next_batch(self) -> list[Any]:
        """Give what is there, as one item."""
        messages = self._consumer.consume(MOST_AT_A_TIME, 0.001)
        if not messages:
            return []
        self._offset = messages[-1].offset() + 1
        return [messages]

    def snapshot(self) -> int:
        """Give where to go on."""
        return self._offset

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


class Source(FixedPartitionedSource[Any, int]):
    """The input topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(partition) for partition in range(PARTITIONS)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Partition:  # noqa: ARG002  (Bytewax' signature)
        """Open a partition."""
        return Partition(self._bootstrap, self._topic, int(for_part), resume_state)


class Sessions(StatefulBatchLogic[Any, bytes, bytes]):
    """The session of one customer."""

    def __init__(self, packed: bytes | None) -> None:
        self._session = unpack_state(packed[:32], packed[32:].decode()) if packed else None

    def on_batch(self, values: list[Any]) -> tuple[list[bytes], bool]:
        """Add events and give the session after each."""
        out = []
        session = self._session
        for customer_id, event in values:
            session = add_event(session, customer_id, event.occurred_at_ms, event.amount_cents)
            out.append(encode_session(session))
        self._session = session
        return out, False

    def snapshot(self) -> bytes:
        """Give the state that is written to the recovery store."""
        session = self._session
        return pack_state(session) + session.customer_id.encode() if session else b""


class Writer(StatelessSinkPartition[tuple[str, bytes]]):
    """Sends what it is given and awaits the acknowledgements."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    def write_batch(self, items: list[tuple[str, bytes]]) -> None:
        """Send, and return when all is acknowledged."""
        produce, topic = self._producer.produce, self._topic
        for key, value in items:
            produce(topic, value, key)
        self._producer.flush()


class Sink(DynamicSink[tuple[str, bytes]]):
    """The output topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000,
            "delivery.report.only.error": True,
        }

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Writer:  # noqa: ARG002  (Bytewax' signature)
        """Open a producer."""
        return Writer(Producer(self._config), self._topic)


def decode(fetched: list[list[Any]]) -> list[tuple[str, Any]]:
    """Decode each fetch as one array."""
    keyed: list[tuple[str, Any]] = []
    for messages in fetched:
        events = decode_events(b"[" + b",".join([message.value() for message in messages]) + b"]")
        keys = [message.key().decode() for message in messages]
        keyed.extend(zip(keys, zip(keys, events, strict=True), strict=True))
    return keyed


def main() -> None:
    """Run one worker until SIGTERM."""
    bootstrap, topic, output, _group, folder = sys.argv[1:]
    recovery = Path(folder) / "recovery"
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    flow = Dataflow("stage")
    fetched = op.input("input", flow, Source(bootstrap, topic))
    keyed: Any = op.flat_map_batch("decode", fetched, decode)
    sessions = op.stateful_batch("sessions", keyed, Sessions)
    op.output("output", sessions, Sink(bootstrap, output))
    cli_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(recovery))


if __name__ == "__main__":
    main()
