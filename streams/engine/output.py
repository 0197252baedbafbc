"""Sending: one idempotent librdkafka producer a process, one flush as the acknowledgement of many records."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, Producer

from streams.engine.batch import Output
from streams.engine.crash import crash
from streams.kafka import KafkaConfig

log = logging.getLogger(__name__)

QUEUE_KBYTES = 128 * 1024
"""Of records that wait to be sent; a stage that makes more of a batch waits for room."""


class Outputs:
    """Sends records and says when all of them are acknowledged by the brokers.

    A record that cannot be delivered ends the process: its batch is not marked done, so it comes again.
    """

    def __init__(self, kafka: KafkaConfig, delivery_timeout_seconds: float) -> None:
        self._producer = Producer(
            {
                **kafka.librdkafka_producer(delivery_timeout_seconds),
                # A flush sends at once what a batch has handed over; before it, what is sent would only be
                # cut into more requests.
                "linger.ms": 100,
                "queue.buffering.max.kbytes": QUEUE_KBYTES,
                # No callback for each record: flush() is the acknowledgement, errors are reported.
                "delivery.report.only.error": True,
                "on_delivery": _on_delivery,
                "error_cb": _on_error,
            }
        )
        self._flushing: asyncio.Task[None] | None = None
        self._next_flush: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")

    def send(self, outputs: Iterable[Output]) -> None:
        """Hand records to the producer, each to the partition of its key."""
        produce = self._producer.produce
        for topic, key, value, headers in outputs:
            # Without headers, even empty ones, it takes half the time.
            given: dict[str, Any] = {"headers": headers} if headers else {}
            try:
                produce(topic, value, key, **given)
            except BufferError:
                self._produce_when_there_is_room(topic, value, key, **given)
        self._producer.poll(0)

    def send_to(self, topic: str, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Hand keyed records to the producer, all for one partition; None deletes a key."""
        produce = self._producer.produce
        for key, value in changes.items():
            try:
                produce(topic, value, key, partition)
            except BufferError:
                self._produce_when_there_is_room(topic, value, key, partition)

    async def acknowledged(self) -> None:
        """Return when everything that was sent before this call is acknowledged.

        All who ask while a flush is under way wait for the one after it.
        """
        if self._next_flush is None:
            self._next_flush = asyncio.create_task(self._flush(self._flushing))
        await asyncio.shield(self._next_flush)

    async def _flush(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._flushing, self._next_flush = self._next_flush, None
        await asyncio.get_running_loop().run_in_executor(self._thread, self._producer.flush)

    def _produce_when_there_is_room(self, *record: Any, **given: Any) -> None:
        """Wait until the queue takes a record; if what is in it cannot be sent, that ends the process."""
        while True:
            self._producer.poll(0.05)
            try:
                self._producer.produce(*record, **given)
            except BufferError:
                continue
            return


def _on_delivery(error: KafkaError | None, message: Any) -> None:
    if error is not None:
        crash(f"a record for {message.topic()} was not delivered: {error.str()}")


def _on_error(error: KafkaError) -> None:
    if error.fatal():
        crash(f"the producer failed: {error.str()}")
    log.warning("Kafka: %s", error.str())
