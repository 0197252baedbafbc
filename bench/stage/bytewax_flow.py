"""Bytewax, with its own source and sink.

    python -m bench.stage.bytewax_flow BOOTSTRAP INPUT OUTPUT GROUP FOLDER

It keeps no changelog in Kafka: its state is made durable by snapshots in SQLite (its recovery store), here
once a second, as often as the others commit.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir

from bench.stage.session import add_event, decode_events, encode_session, pack_state, unpack_state

MOST_AT_A_TIME = 10_000
CONSUMER: dict[str, Any] = {
    "queued.max.messages.kbytes": "16384",
    "statistics.interval.ms": "0",
    # by default it pauses for a second when its queue was full
    "fetch.queue.backoff.ms": "5",
}
PRODUCER: dict[str, Any] = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 500_000,
    "delivery.report.only.error": True,
}


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


def decode(messages: list[KafkaSourceMessage[Any, Any]]) -> list[tuple[str, Any]]:
    """Decode all that was fetched as one array, and key it by customer."""
    events = decode_events(b"[" + b",".join([message.value for message in messages]) + b"]")
    keys = [message.key.decode() for message in messages]
    return list(zip(keys, zip(keys, events, strict=True), strict=True))


def to_messages(sessions: list[tuple[str, bytes]]) -> list[KafkaSinkMessage[Any, Any]]:
    """Give what the sink takes."""
    return [KafkaSinkMessage(key, value) for key, value in sessions]


def main() -> None:
    """Run one worker until SIGTERM."""
    bootstrap, topic, output, _group, folder = sys.argv[1:]
    recovery = Path(folder) / "recovery"
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    source = KafkaSource([bootstrap], [topic], batch_size=MOST_AT_A_TIME, add_config=CONSUMER)
    flow = Dataflow("stage")
    fetched = op.input("input", flow, source)
    keyed: Any = op.flat_map_batch("decode", fetched, decode)
    sessions = op.stateful_batch("sessions", keyed, Sessions)
    messages = op.flat_map_batch("messages", sessions, to_messages)
    op.output("output", messages, KafkaSink([bootstrap], output, add_config=PRODUCER))
    cli_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(recovery))


if __name__ == "__main__":
    main()
