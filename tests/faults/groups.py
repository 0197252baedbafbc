"""Where consumer groups stand, a partition at a time."""

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.kafka import KafkaConfig

Place = tuple[str, int]
ATTEMPTS = 3


class Group:
    """A consumer group, looked at from outside.

    Args:
        kafka: where.
        group: its name.
        topics: that it reads.
        partitions: of each topic.
    """

    def __init__(self, kafka: KafkaConfig, group: str, topics: Sequence[str], partitions: int) -> None:
        self._kafka = kafka
        self._admin = AdminClient(kafka.librdkafka())
        self._consumer = Consumer({**kafka.librdkafka(), "group.id": group, "enable.auto.commit": False})
        self._places = [(topic, number) for topic in topics for number in range(partitions)]

    def positions(self) -> dict[Place, int]:
        """Give what is committed, by topic and partition; 0 where nothing is."""
        asked = [TopicPartition(*place) for place in self._places]
        found = self._consumer.committed(asked, timeout=10)
        return {(place.topic, place.partition): max(0, place.offset) for place in found}

    def ends(self) -> dict[Place, int]:
        """Give the offset after the last record of each partition."""
        wanted = {TopicPartition(*place): OffsetSpec.latest() for place in self._places}
        for attempt in range(ATTEMPTS):
            try:
                answers = self._admin.list_offsets(wanted, request_timeout=10)
                return {(tp.topic, tp.partition): answer.result().offset for tp, answer in answers.items()}
            except KafkaException:
                # After a broker's restart a client goes on asking with the old leader's epoch.
                self._admin = AdminClient(self._kafka.librdkafka())
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("not reached")

    def waiting(self) -> dict[Place, int]:
        """Give the positions of the partitions where records wait; empty too when Kafka does not answer."""
        try:
            positions, ends = self.positions(), self.ends()
        except KafkaException:
            return {}
        return {place: position for place, position in positions.items() if ends[place] > position}

    def lag(self) -> int:
        """Give the number of records that wait; -1 when Kafka does not answer."""
        try:
            positions, ends = self.positions(), self.ends()
        except KafkaException:
            return -1
        return sum(end - positions[place] for place, end in ends.items())

    def has_moved(self, before: Mapping[Place, int]) -> bool:
        """Whether each of these partitions is further than it was."""
        try:
            positions = self.positions()
        except KafkaException:
            return False
        return all(positions[place] > position for place, position in before.items())

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
