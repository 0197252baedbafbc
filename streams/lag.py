"""How far consumer groups are behind their topics."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.kafka import KafkaConfig
from streams.topics import KafkaUnreachableError

TIMEOUT_SECONDS = 5.0
COORDINATOR_MOVES: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""What a broker says of a group while it starts."""


class TopicLag(NamedTuple):
    """Records of a topic that a group has not done yet, and how many were ever written."""

    topic: str
    lag: int
    written: int


def topic_lags(kafka: KafkaConfig, group: str, topics: Iterable[str]) -> list[TopicLag]:
    """Give a group's lag behind each topic; a topic that does not exist has none.

    Raises:
        KafkaUnreachableError: no broker answers.
    """
    consumer = Consumer({**kafka.librdkafka(), "group.id": group, "enable.auto.commit": False})
    try:
        known = consumer.list_topics(timeout=TIMEOUT_SECONDS).topics
        partitions = [TopicPartition(t, p) for t in topics if t in known for p in known[t].partitions]
        committed = _committed(consumer, partitions) if partitions else []
        lags, written = Counter(dict.fromkeys(topics, 0)), Counter[str]()
        for place in committed:
            low, high = consumer.get_watermark_offsets(
                TopicPartition(place.topic, place.partition), timeout=TIMEOUT_SECONDS
            )
            lags[place.topic] += high - (place.offset if place.offset >= 0 else low)
            written[place.topic] += high
    except KafkaException as error:
        raise KafkaUnreachableError(f"Kafka does not answer ({error.args[0].str()})") from error
    finally:
        consumer.close()
    return [TopicLag(topic, lag, written[topic]) for topic, lag in lags.items()]


def _committed(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return consumer.committed(partitions, timeout=TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in COORDINATOR_MOVES or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
