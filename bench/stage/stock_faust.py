"""Stock Faust: an agent that is given one event at a time.

python -m bench.stage.stock_faust BOOTSTRAP INPUT OUTPUT GROUP FOLDER
"""

import sys
from typing import Any

import faust
from faust.serializers import codecs
from msgspec.structs import astuple

from bench.stage.session import Session, add_event, decode_event, encode_session
from bench.stage.workload import PARTITIONS


class EventCodec(codecs.Codec):
    """Decodes by the same decoder as the other systems."""

    def _loads(self, s: bytes) -> Any:
        return decode_event(s)


def main() -> None:
    """Run one worker until SIGTERM."""
    bootstrap, topic, output, group, folder = sys.argv[1:]
    codecs.register("event", EventCodec())
    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=folder,
        autodiscover=False,
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        broker_max_poll_records=4000,
        producer_compression_type="lz4",
        producer_linger=0.02,
        producer_max_batch_size=256 * 1024,
        stream_wait_empty=False,
        table_standby_replicas=0,
        web_enabled=False,
    )
    events = app.topic(topic, key_type=bytes, value_serializer="event", partitions=PARTITIONS)
    out = app.topic(output, key_serializer="raw", value_serializer="raw", partitions=PARTITIONS)
    sessions = app.Table("sessions", partitions=PARTITIONS)

    async def keep_sessions(stream: Any) -> None:
        async for key, event in stream.items():
            customer_id = key.decode()
            kept = sessions.get(customer_id)
            session = Session(customer_id, *kept) if kept else None
            session = add_event(session, customer_id, event.occurred_at_ms, event.amount_cents)
            sessions[customer_id] = astuple(session)[1:]
            await out.send(key=key, value=encode_session(session))

    app.agent(events, name="keep_sessions")(keep_sessions)
    worker = app.Worker(loglevel="WARN", redirect_stdouts=False, quiet=True)
    worker.spinner = None
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
