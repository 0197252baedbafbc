"""How to reach Kafka, in the words of each client library."""

from dataclasses import dataclass
from typing import Any

from streams.topics import MAX_MESSAGE_BYTES


@dataclass(frozen=True)
class KafkaConfig:
    """Address and credentials of the brokers; `security_protocol` as Kafka spells it (`SASL_SSL`, …)."""

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_ca_location: str | None = None

    def librdkafka(self) -> dict[str, Any]:
        """Give the common settings of confluent-kafka's clients."""
        given = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_ca_location,
        }
        return {name: value for name, value in given.items() if value is not None}

    def librdkafka_producer(self) -> dict[str, Any]:
        """Give the settings of every producer: idempotent, acknowledged by all replicas, keyed like Java's.

        A delivery gives up (20 s) before a group session ends at the latest sensible setting, so that a worker
        that lost its partitions does not write for long after.
        """
        return {
            **self.librdkafka(),
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.messages": 500_000,
            "delivery.timeout.ms": 20_000,
        }
