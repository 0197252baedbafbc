"""The events that every system is given, and the judgement of what it made of them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from bench.stage.session import Event, Session, add_event, decode_event

PARTITIONS: Final = 4
CUSTOMERS: Final = 10_000
MS_BETWEEN_EVENTS: Final = 60
"""Of all customers together. A customer comes every ten minutes in the mean, so one gap in twenty is longer
than half an hour."""
BEGIN_MS: Final = 1_767_225_600_000
CHUNK: Final = 10_000

_PAGES: Final = ("/", "/p/p-1042", "/p/p-77", "/c/books", "/c/garden?page=2", "/cart", "/search?q=lamp")
_AGENTS: Final = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/137.0.0.0 Safari/537.36",
)


class WrongResultError(Exception):
    """A system lost, doubled or changed something; the message says what."""


def make_events(count: int, customers: int = CUSTOMERS) -> Iterator[tuple[bytes, bytes]]:
    """Make keys (customers) and JSON events of about 300 bytes, always the same ones."""
    draw = random.Random(7)  # noqa: S311  (no secret)
    for number in range(count):
        customer = f"customer-{draw.randrange(customers):06d}"
        at_ms = BEGIN_MS + number * MS_BETWEEN_EVENTS
        yield (
            customer.encode(),
            (
                f'{{"event_id":"{draw.getrandbits(128):032x}","event_type":"page_viewed",'
                f'"customer_id":"{customer}","occurred_at_ms":{at_ms},'
                f'"amount_cents":{draw.randrange(20_000)},"currency":"EUR",'
                f'"context":{{"page_url":"https://shop.example{_PAGES[number % 7]}",'
                f'"user_agent":"{_AGENTS[number % 3]}","country":"DE"}}}}'
            ).encode(),
        )


def fill(bootstrap: str, topic: str, count: int, customers: int) -> float:
    """Write the events to a topic; gives the mean length of an event in bytes.

    Raises:
        RuntimeError: the broker did not take all.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
            "batch.size": 500_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    total = 0
    for number, (key, value) in enumerate(make_events(count, customers)):
        total += len(value)
        producer.produce(topic, value, key)
        if number % CHUNK == 0:
            while len(producer) > 20 * CHUNK:
                producer.poll(0.1)
    if producer.flush(60):
        raise RuntimeError(f"{topic} could not be filled")
    return total / count


@dataclass(frozen=True)
class Outcome:
    """What a topic of outputs says; `digest` is of all sessions in their final state."""

    outputs: int
    sessions: int
    events: int
    amount_cents: int
    digest: str


def expected_outcome(count: int, customers: int) -> Outcome:
    """Compute what must come out, without Kafka."""
    now: dict[bytes, Session] = {}
    final: dict[tuple[str, int], Session] = {}
    for key, value in make_events(count, customers):
        event: Event = decode_event(value)
        session = add_event(now.get(key), key.decode(), event.occurred_at_ms, event.amount_cents)
        if session is not now.get(key):
            now[key] = final[session.customer_id, session.started_at_ms] = session
    return _outcome(count, final)


def read_outcome(bootstrap: str, topic: str) -> Outcome:
    """Read a topic of outputs from its start to its end, without what belongs to aborted transactions."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused: nothing is committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    decode = msgspec.json.Decoder(list[Session]).decode
    outputs, open_partitions = 0, PARTITIONS
    final: dict[tuple[str, int], Session] = {}
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    try:
        while open_partitions:
            values = []
            for message in consumer.consume(CHUNK, timeout=1.0):
                error = message.error()
                if error is None:
                    values.append(message.value() or b"null")
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                    open_partitions -= 1
                else:
                    raise KafkaException(error)
            outputs += len(values)
            for session in decode(b"[" + b",".join(values) + b"]"):
                final[session.customer_id, session.started_at_ms] = session
    finally:
        consumer.close()
    return _outcome(outputs, final)


def check(found: Outcome, expected: Outcome) -> None:
    """Compare the number of outputs, and every field of every session.

    Raises:
        WrongResultError: they differ.
    """
    if found != expected:
        raise WrongResultError(f"expected {expected}, got {found}")


def _outcome(outputs: int, final: dict[tuple[str, int], Session]) -> Outcome:
    sessions = [msgspec.structs.astuple(final[key]) for key in sorted(final)]
    return Outcome(
        outputs=outputs,
        sessions=len(sessions),
        events=sum(session[3] for session in sessions),
        amount_cents=sum(session[4] for session in sessions),
        digest=sha256(repr(sessions).encode()).hexdigest()[:16],
    )
