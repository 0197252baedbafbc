"""Consumer groups from outside: who is in them, how far they are, and putting them elsewhere."""

from collections.abc import Iterable

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka import KafkaConfig
from streams.topics import KafkaUnreachableError

TIMEOUT_SECONDS = 10.0


def members_of(kafka: KafkaConfig, group: str) -> int:
    """Count the workers that are in a group now; one that was killed counts until its session has timed out.

    Raises:
        KafkaUnreachableError: no broker answers.
    """
    admin = AdminClient(kafka.librdkafka())
    try:
        futures = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_SECONDS)
        return len(futures[group].result().members)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise KafkaUnreachableError(f"Kafka does not answer ({error.args[0].str()})") from error


def committed_offsets(kafka: KafkaConfig, group: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """Give where a group stands in each partition; where it has committed nothing, at the first record kept.

    Raises:
        KafkaUnreachableError: no broker answers.
    """
    consumer = _consumer(kafka, group)
    try:
        found = {}
        for place in consumer.committed(_partitions(consumer, topics), timeout=TIMEOUT_SECONDS):
            low, _high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)
            found[place.topic, place.partition] = place.offset if place.offset >= 0 else low
    except KafkaException as error:
        raise KafkaUnreachableError(f"Kafka does not answer ({error.args[0].str()})") from error
    finally:
        consumer.close()
    return found


def put_at_end(kafka: KafkaConfig, group: str, topics: Iterable[str]) -> None:
    """Put an empty group behind the last record of each partition.

    Raises:
        KafkaUnreachableError: no broker answers, or the group has members.
    """
    consumer = _consumer(kafka, group)
    try:
        ends = [
            TopicPartition(
                place.topic,
                place.partition,
                consumer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)[1],
            )
            for place in _partitions(consumer, topics)
        ]
        if not ends:
            return
        admin = AdminClient(kafka.librdkafka())
        futures = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, ends)])
        futures[group].result()
    except KafkaException as error:
        raise KafkaUnreachableError(f"Kafka refuses: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _consumer(kafka: KafkaConfig, group: str) -> Consumer:
    return Consumer({**kafka.librdkafka(), "group.id": group, "enable.auto.commit": False})


def _partitions(consumer: Consumer, topics: Iterable[str]) -> list[TopicPartition]:
    known = consumer.list_topics(timeout=TIMEOUT_SECONDS).topics
    return [TopicPartition(topic, p) for topic in topics if topic in known for p in known[topic].partitions]
