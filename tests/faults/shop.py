"""Events of the synthetic shop, sent behind Kinesis or to it, with a ledger of what was taken."""

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from itertools import count as counting
from pathlib import Path
from typing import Protocol

from confluent_kafka import Producer

from bench.raw import raw_message
from producer.ledger import LedgerWriter
from producer.records import Record
from producer.run import ProduceConfig, make_records
from streams.kafka import KafkaConfig

EPOCH = 1_700_000_000_000
RUN = 12_000
DELIVERY_SECONDS = 300.0
READ_AGAIN = 20
"""Every so many records one is written twice, as by an ingest that died before its checkpoint."""


def shop_records(seed: int) -> Iterator[Record]:
    """Give endless records: histories of 60 days with late, repeated and broken ones, one after another."""
    end = datetime(2026, 6, 1, tzinfo=UTC)
    return chain.from_iterable(
        make_records(
            ProduceConfig(
                seed=seed + number, end=end, count=RUN, days=60, late=0.05, duplicates=0.03, broken=0.02
            )
        )
        for number in counting()
    )


class Sender(Protocol):
    """Where records are sent."""

    def send(self, records: Sequence[Record]) -> None:
        """Send records; when it returns all are taken and in the ledger."""

    def close(self) -> None:
        """Close the ledger."""


class RawTopics:
    """The raw topics, written as ingest workers do, some records twice.

    Args:
        kafka: where.
        ledger: takes what Kafka has acknowledged.
    """

    def __init__(self, kafka: KafkaConfig, ledger: Path) -> None:
        self._producer = Producer(kafka.librdkafka_producer(DELIVERY_SECONDS))
        self._ledger = LedgerWriter(ledger)
        self._sent = 0

    def send(self, records: Sequence[Record]) -> None:
        """Send records; raises RuntimeError if Kafka has not taken them in five minutes."""
        arrived_at_ms = round(time.time() * 1000)
        failed: list[object] = []
        for record in records:
            self._sent += 1
            message = raw_message(record, self._sent, arrived_at_ms, epoch=EPOCH)
            for _ in range(2 if self._sent % READ_AGAIN == 0 else 1):
                self._producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    headers=message.headers,
                    on_delivery=lambda error, _message: failed.append(error) if error else None,
                )
        if self._producer.flush(DELIVERY_SECONDS + 5) or failed:
            raise RuntimeError(f"records of the test itself were not taken: {failed[:1]}")
        self._ledger.write(records)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()


class Feed:
    """Sends a shop's records, so many a second, in a thread of its own, until it is stopped.

    Args:
        sender: where to.
        records: endless.
    """

    def __init__(self, sender: Sender, records: Iterator[Record]) -> None:
        self._sender = sender
        self._records = records
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.sent = 0

    def send(self, count: int) -> None:
        """Send so many at once."""
        self._sender.send(list(islice(self._records, count)))
        self.sent += count

    def send_by(self, sender: Sender, count: int) -> None:
        """Send so many by another sender."""
        sender.send(list(islice(self._records, count)))
        self.sent += count

    def start(self, rate: float) -> None:
        """Begin to send `rate` records a second."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(rate,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more; raises what went wrong meanwhile."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Send no more, whatever went wrong meanwhile."""
        try:
            self.stop()
        except Exception:  # noqa: BLE001  (something else has gone wrong before)
            self._error = None

    def close(self) -> None:
        """Send no more and close the ledger."""
        self.abandon()
        self._sender.close()

    def _run(self, rate: float) -> None:
        began, sent = time.monotonic(), 0
        try:
            while not self._stop.wait(0.2):
                due = min(int((time.monotonic() - began) * rate) - sent, int(rate) * 5)
                if due > 0:
                    self.send(due)
                    sent += due
        except BaseException as error:  # noqa: BLE001  (told by `stop`)
            self._error = error
