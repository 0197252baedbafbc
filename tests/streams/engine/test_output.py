"""More than the producer's queue holds is sent all the same, whether it is full by number or by bytes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.local.platform import LocalPlatform
from streams.engine import output
from streams.engine.batch import Output
from streams.engine.output import Outputs
from streams.kafka import KafkaConfig
from streams.topics import Topic, declare_topics

pytestmark = pytest.mark.real


class FewRecords(KafkaConfig):
    """Settings with a queue of few records."""

    def librdkafka_producer(self, delivery_timeout_seconds: float = 30.0) -> dict[str, Any]:
        return {**super().librdkafka_producer(delivery_timeout_seconds), "queue.buffering.max.messages": 10}


def lengths(kafka: KafkaConfig, topic: str) -> list[int]:
    consumer = Consumer({**kafka.librdkafka(), "group.id": "test", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[int] = []
    while True:
        for message in consumer.consume(100, timeout=1):
            if message.error() is not None:
                consumer.close()
                return found
            found.append(len(message.value() or b""))


@pytest.mark.parametrize(("settings", "size", "count"), [(KafkaConfig, 500_000, 30), (FewRecords, 10, 300)])
def test_a_full_queue_is_waited_for(  # noqa: PLR0917  (fixtures and parameters)
    platform: LocalPlatform,
    unique: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    settings: type[KafkaConfig],
    size: int,
    count: int,
) -> None:
    kafka, topic = settings(platform.kafka_bootstrap), unique("full")
    declare_topics(AdminClient(kafka.librdkafka()), [Topic(topic)], partitions=1, replication=1)
    monkeypatch.setattr(output, "QUEUE_KBYTES", 2_000)

    async def sent() -> None:
        outputs = Outputs(kafka, 30.0)
        outputs.send(Output(topic, b"k", bytes(size)) for _ in range(count))
        outputs.send_to(topic, 0, {b"%d" % number: bytes(size) for number in range(count)})
        await outputs.acknowledged()

    asyncio.run(sent())
    assert lengths(kafka, topic) == [size] * (2 * count)
