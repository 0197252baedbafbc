"""Quix Streams.

python -m bench.stage.quix BOOTSTRAP INPUT OUTPUT GROUP FOLDER
"""

import sys
from typing import Any

from quixstreams import Application, State
from quixstreams.models.serializers import BytesSerializer, JSONDeserializer
from quixstreams.state.rocksdb import RocksDBOptions

from bench.stage.session import Session, add_event, decode_event, encode_session, pack_state, unpack_state


def main() -> None:
    """Run one worker until SIGTERM."""
    bootstrap, topic, output, group, folder = sys.argv[1:]
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=folder,
        loglevel="WARNING",
        auto_create_topics=True,
        broker_availability_timeout=0,
        # Its own default, fsync at each flush, is for crashes of the machine; the others do without.
        rocksdb_options=RocksDBOptions(
            dumps=_dumps,
            loads=_loads,
            use_fsync=False,
            write_buffer_size=16 * 1024 * 1024,
            block_cache_size=64 * 1024 * 1024,
        ),
        producer_extra_config={
            "compression.type": "lz4",
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000,
        },
        consumer_extra_config={
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 32_768,
            "queued.min.messages": 100_000,
        },
    )
    events = app.topic(
        topic, key_deserializer="string", value_deserializer=JSONDeserializer(loads=decode_event)
    )
    out = app.topic(output, key_serializer="string", value_serializer=BytesSerializer())

    def keep(event: Any, key: str, _timestamp: int, _headers: Any, state: State) -> bytes:
        session = add_event(state.get("s"), key, event.occurred_at_ms, event.amount_cents)
        state.set("s", session)
        return encode_session(session)

    app.dataframe(events).apply(keep, stateful=True, metadata=True).to_topic(out)
    app.run()


def _dumps(value: Any) -> bytes:
    # Quix writes also numbers of its own through this.
    return (
        pack_state(value) + value.customer_id.encode() if isinstance(value, Session) else repr(value).encode()
    )


def _loads(packed: bytes) -> Any:
    return unpack_state(packed[:32], packed[32:].decode()) if len(packed) > 32 else int(packed)  # noqa: PLR2004  (a state)


if __name__ == "__main__":
    main()
