"""Messages to Kafka, a batch at a time, with every acknowledgement checked."""

from collections.abc import Iterable
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.failpoints import failpoint
from streams.ingest.messages import Message
from streams.kafka import KafkaConfig
from streams.topics import MAX_MESSAGE_BYTES

# Longer than librdkafka's own `delivery.timeout.ms`, which fails what is left; this only ends a hang.
FLUSH_SECONDS = 30.0


class ForwardError(Exception):
    """Kafka did not acknowledge everything; nothing of the batch may be checkpointed."""


class RecordTooLargeError(ForwardError):
    """A record is larger than topics take; trying again does not help."""


class Forwarder(Protocol):
    """Where batches go."""

    def forward(self, messages: Iterable[Message]) -> None:
        """Send the messages and return when all are acknowledged; blocks.

        Raises:
            ForwardError: at least one was not.
        """


class KafkaForwarder:
    """A forwarder to Kafka by an idempotent producer that all replicas acknowledge."""

    def __init__(self, config: KafkaConfig) -> None:
        self._failures: list[KafkaError] = []
        self._producer = Producer(
            {
                **config.librdkafka_producer(),
                # Only failures are reported: with the queue empty after a flush, all else is acknowledged.
                "delivery.report.only.error": True,
                "on_delivery": self._note_failure,
            }
        )

    def forward(self, messages: Iterable[Message]) -> None:
        """Send the messages and return when all are acknowledged; blocks for up to half a minute.

        Raises:
            RecordTooLargeError: topics do not take one.
            ForwardError: at least one was not acknowledged.
        """
        failpoint("ingest.before_produce")
        try:
            for message in messages:
                self._enqueue(message)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise RecordTooLargeError(
                    f"a record is above {MAX_MESSAGE_BYTES} bytes, more than topics take; its shard stands "
                    f"still. Streams whose record limit was raised above 1 MiB are not supported"
                ) from error
            raise ForwardError(f"Kafka refused a record: {reason.str()}") from error
        failpoint("ingest.before_acknowledgement")
        unanswered = self._producer.flush(FLUSH_SECONDS)
        failures, self._failures = self._failures, []
        if failures:
            raise ForwardError(f"Kafka did not take {len(failures)} records: {failures[0].str()}")
        if unanswered:
            raise ForwardError(f"Kafka has not answered for {unanswered} records in {FLUSH_SECONDS:.0f} s")
        failpoint("ingest.after_acknowledgement")

    def _enqueue(self, message: Message) -> None:
        while True:
            try:
                self._producer.produce(message.topic, message.value, message.key, headers=message.headers)
            except BufferError:  # the queue is full: let it drain
                self._producer.poll(0.1)
            else:
                return

    def _note_failure(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._failures.append(error)
