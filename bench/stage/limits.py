"""What the client library alone can do: how far a system in Python is from there.

    python -m bench.stage.limits consume|copy BOOTSTRAP INPUT OUTPUT GROUP FOLDER

`consume` only reads and commits. `copy` reads, decodes each event, sends it on and awaits all
acknowledgements; it keeps no state.
"""

import sys
import time

from confluent_kafka import Consumer, Producer

from bench.stage.session import decode_events
from bench.stage.workload import CHUNK

COMMIT_SECONDS = 1.0


def main() -> None:
    """Run until killed."""
    what, bootstrap, topic, output, group, _folder = sys.argv[1:]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 65_536,
            "fetch.queue.backoff.ms": 5,  # by default it pauses for a second when its queue was full
        }
    )
    consumer.subscribe([topic])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000,
            "delivery.report.only.error": True,
        }
    )
    committed_at, dirty = time.monotonic(), False
    while True:
        messages = consumer.consume(CHUNK, timeout=0.1)
        if what == "copy" and messages:
            values = [message.value() or b"" for message in messages]
            decode_events(b"[" + b",".join(values) + b"]")
            for message, value in zip(messages, values, strict=True):
                producer.produce(output, value, message.key())
            producer.flush()
        dirty = dirty or bool(messages)
        if dirty and (what == "consume" or time.monotonic() - committed_at > COMMIT_SECONDS):
            consumer.commit(asynchronous=True)
            committed_at, dirty = time.monotonic(), False


if __name__ == "__main__":
    main()
