"""Putting a state that was computed elsewhere into the changelogs: all of it, or nothing."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.engine.batch import Output
from streams.engine.changelog import changelog_topic
from streams.engine.table import EPOCH_KEY, epoch_record, pack
from streams.kafka import KafkaConfig
from streams.silver import Revision
from streams.topics import TopicsError

TRANSACTION_SECONDS: Final = 60
"""Brokers abort it after this time, and at the longest 15 minutes by default."""
MOST_TRANSACTION_SECONDS: Final = 900
ENTRIES_A_SECOND: Final = 10_000
"""A slow pace, for larger states."""
COMMIT_ATTEMPTS: Final = 5


class Entry(NamedTuple):
    """The state of one key; an empty value: it has none any more."""

    stage: str
    partition: int
    key: bytes
    value: bytes
    revision: Revision


def publish(
    kafka: KafkaConfig,
    app_id: str,
    entries: Iterable[Entry],
    *,
    expected: int,
    begun: Mapping[str, tuple[int, Mapping[str, str]]],
    partitions: int,
) -> None:
    """Write states into changelogs, in one transaction.

    The workers must be stopped: nobody else may write to these changelogs meanwhile.

    Args:
        kafka: where.
        app_id: of the workers whose state it is.
        entries: what to write.
        expected: how many they will be, about.
        begun: by stage, the epoch (milliseconds since 1970) and the settings of a state that begins anew:
            nothing that was written for it in an earlier epoch is seen any more.
        partitions: of the changelogs.

    Raises:
        TopicsError: the brokers refuse; nothing is changed then, or the message says that it is not known.
    """
    seconds = min(TRANSACTION_SECONDS + expected // ENTRIES_A_SECOND, MOST_TRANSACTION_SECONDS)
    producer = Producer(
        {
            **kafka.librdkafka_producer(seconds),
            "transactional.id": f"{app_id}-rebuild",
            "transaction.timeout.ms": seconds * 1000,
        }
    )
    try:
        producer.init_transactions()  # ends one that a killed rebuild has left open
        producer.begin_transaction()
    except KafkaException as error:
        raise TopicsError(f"the state cannot be written: {error.args[0].str()}") from error
    try:
        for entry in entries:
            packed = pack(entry.revision, entry.value)
            topic = changelog_topic(app_id, entry.stage)
            _produce(producer, Output(topic, entry.key, packed), entry.partition)
        for stage, (epoch, settings) in begun.items():
            record = epoch_record(epoch, settings)
            for partition in range(partitions):
                _produce(producer, Output(changelog_topic(app_id, stage), EPOCH_KEY, record), partition)
        producer.flush()
    except BaseException:
        producer.abort_transaction()
        raise
    _commit(producer)


def send_all(kafka: KafkaConfig, outputs: Iterable[Output]) -> None:
    """Send records to other topics and wait for all acknowledgements.

    Raises:
        TopicsError: the brokers have not taken all of them.
    """
    failed: list[str] = []

    def note(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failed.append(error.str())

    producer = Producer(
        {**kafka.librdkafka_producer(), "delivery.report.only.error": True, "on_delivery": note}
    )
    for output in outputs:
        _produce(producer, output)
    producer.flush()
    if failed:
        raise TopicsError(f"{len(failed)} records were not taken, for example: {failed[0]}")


def _commit(producer: Producer) -> None:
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            producer.commit_transaction()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.txn_requires_abort():
                producer.abort_transaction()
                raise TopicsError(f"the state could not be written: {reason.str()}") from error
            if not reason.retriable() or attempt == COMMIT_ATTEMPTS - 1:
                raise TopicsError(
                    f"whether the state was written is not known ({reason.str()}): run this again"
                ) from error
        else:
            return


def _produce(producer: Producer, output: Output, partition: int = -1) -> None:
    while True:
        try:
            producer.produce(output.topic, output.value, output.key, partition, headers=output.headers)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return
