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
            # What it would print goes to callers as errors; below this only crashes of the library are left.
            "log_level": 2,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_ca_location,
        }
        return {name: value for name, value in given.items() if value is not None}

    def librdkafka_producer(self, delivery_timeout_seconds: float = 30.0) -> dict[str, Any]:
        """Give the settings of every producer: idempotent, acknowledged by all replicas, keyed like Java's.

        Args:
            delivery_timeout_seconds: when a delivery is given up. For a worker of a consumer group it is
                below the session time-out, so that one who lost its partitions does not write long after.
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
            "delivery.timeout.ms": int(delivery_timeout_seconds * 1000),
        }
