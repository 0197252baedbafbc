"""Putting a state that was computed elsewhere into the changelogs: all of it, or nothing."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import KafkaException, Producer

from streams.engine.app import changelog_topic
from streams.engine.batch import Output
from streams.engine.table import EPOCH_KEY, epoch_record, pack
from streams.kafka import KafkaConfig
from streams.silver import Revision
from streams.topics import TopicsError

TRANSACTION_SECONDS: Final = 900
"""The longest that brokers allow by default."""


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
    outputs: Iterable[Output],
    *,
    begun: Mapping[str, tuple[int, Mapping[str, str]]],
    partitions: int,
) -> None:
    """Write states, and records for other topics, in one transaction.

    The workers must be stopped: nobody else may write to these changelogs meanwhile.

    Args:
        kafka: where.
        app_id: of the workers whose state it is.
        entries: for changelogs.
        outputs: for other topics.
        begun: by stage, the epoch (milliseconds since 1970) and the settings of a state that begins anew:
            nothing that was written for it in an earlier epoch is seen any more.
        partitions: of the changelogs.

    Raises:
        TopicsError: the brokers refuse; nothing is changed then.
    """
    producer = Producer(
        {
            **kafka.librdkafka_producer(TRANSACTION_SECONDS),
            "transactional.id": f"{app_id}-rebuild",
            "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,
        }
    )
    try:
        producer.init_transactions()
        producer.begin_transaction()
        for entry in entries:
            packed = pack(entry.revision, entry.value)
            topic = changelog_topic(app_id, entry.stage)
            _produce(producer, Output(topic, entry.key, packed), entry.partition)
        for stage, (epoch, settings) in begun.items():
            record = epoch_record(epoch, settings)
            for partition in range(partitions):
                _produce(producer, Output(changelog_topic(app_id, stage), EPOCH_KEY, record), partition)
        for output in outputs:
            _produce(producer, output)
        producer.commit_transaction()
    except KafkaException as error:
        raise TopicsError(f"the state could not be written: {error.args[0].str()}") from error


def _produce(producer: Producer, output: Output, partition: int = -1) -> None:
    while True:
        try:
            producer.produce(output.topic, output.value, output.key, partition, headers=output.headers)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return
