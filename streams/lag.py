"""How far consumer groups are behind their topics."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.kafka import KafkaConfig
from streams.topics import KafkaUnreachableError

TIMEOUT_SECONDS = 5.0


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
        committed = consumer.committed(partitions, timeout=TIMEOUT_SECONDS) if partitions else []
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
