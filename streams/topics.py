"""Kafka topics: names, what is kept in them, and their declaration on a broker."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own exports lack them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from streams.events import STREAMS, Stream

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
DAY_MS: Final = 24 * 60 * 60 * 1000

CLEAN_EVENTS: Final = "clean.events"
CLEAN_PRODUCTS: Final = "clean.products"
CLEAN_LOGS: Final = "clean.system-logs"
SILVER_CUSTOMERS: Final = "silver.customers"
SILVER_PRODUCTS: Final = "silver.products"
SILVER_SESSIONS: Final = "silver.sessions"
SILVER_IDENTITIES: Final = "silver.identities"
SILVER_LATE_EVENTS: Final = "silver.late-events"
DEAD_LETTERS: Final = "dead-letters"

PROCESS_GROUP: Final = "pipeline-process"
SINK_GROUP: Final = "pipeline-sink"
"""The consumer groups of the two kinds of workers."""


def raw_topic(stream: Stream) -> str:
    """Give the topic that holds a stream's records as they came."""
    return f"raw.{stream}"


DELETIONS_KEPT_MS: Final = DAY_MS
"""How long a compacted topic keeps the record that deletes a key: who was away for longer does not see it."""


@dataclass(frozen=True)
class Topic:
    """A topic to declare; a compacted one keeps the last record of each key for ever."""

    name: str
    compacted: bool = False
    retention_days: int = 7

    def config(self) -> dict[str, str]:
        """Give the topic's configuration as the broker takes it.

        Records bear the instant at which the broker took them: it refuses those of a sender whose clock is
        an hour ahead, and retention should not count from what a sender believes.
        """
        kept = (
            {"cleanup.policy": "compact", "delete.retention.ms": str(DELETIONS_KEPT_MS)}
            if self.compacted
            else {"cleanup.policy": "delete", "retention.ms": str(self.retention_days * DAY_MS)}
        )
        return {
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "message.timestamp.type": "LogAppendTime",
            **kept,
        }


TOPICS: Final = (
    *(Topic(raw_topic(stream)) for stream in STREAMS),
    Topic(CLEAN_EVENTS),
    Topic(CLEAN_PRODUCTS),
    Topic(CLEAN_LOGS),
    Topic(SILVER_CUSTOMERS, compacted=True),
    Topic(SILVER_PRODUCTS, compacted=True),
    Topic(SILVER_SESSIONS, compacted=True),
    Topic(SILVER_IDENTITIES),
    Topic(SILVER_LATE_EVENTS),
    Topic(DEAD_LETTERS, retention_days=30),
)


class TopicsError(Exception):
    """The broker's topics are not what the pipeline needs; the message says what to do."""


class KafkaUnreachableError(TopicsError):
    """No broker answers; trying again later may help."""


def partition_counts(admin: AdminClient, timeout_seconds: float = 10.0) -> dict[str, int]:
    """Give each existing topic's number of partitions.

    Raises:
        KafkaUnreachableError: no broker answers.
    """
    try:
        metadata = admin.list_topics(timeout=timeout_seconds)
    except KafkaException as error:
        raise KafkaUnreachableError(f"Kafka does not answer ({error.args[0].str()})") from error
    if not metadata.brokers:
        # A broker that starts answers before it has read which topics there are.
        raise TopicsError("Kafka cannot be reached (no broker has joined yet); is it starting?")
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def topic_ids(admin: AdminClient, topics: Iterable[str], timeout_seconds: float = 10.0) -> dict[str, str]:
    """Give the id of each topic: one that was deleted and made again has another.

    Raises:
        KafkaUnreachableError: no broker answers.
        TopicsError: a topic does not exist; one that was just made is waited for.
    """
    found: dict[str, str] = {}
    missing = set(topics)
    deadline = time.monotonic() + timeout_seconds
    while missing:
        futures = admin.describe_topics(TopicCollection(sorted(missing)), request_timeout=timeout_seconds)
        for name, future in futures.items():
            try:
                found[name] = str(future.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    reason = error.args[0].str()
                    raise KafkaUnreachableError(f"Kafka does not describe {name}: {reason}") from error
        missing -= found.keys()
        if missing and time.monotonic() > deadline:
            raise TopicsError(
                f"topics missing: {', '.join(sorted(missing))}; `pipeline topics` declares the pipeline's own"
            )
        if missing:
            time.sleep(0.1)
    return found


def check_topics(found: Mapping[str, int], wanted: Iterable[str], partitions: int) -> None:
    """Refuse to go on with topics that are missing or divided otherwise.

    Args:
        found: number of partitions of each existing topic.
        wanted: names of the topics that are needed.
        partitions: the number of partitions they must have.

    Raises:
        TopicsError: naming each wrong topic and what to do.
    """
    wanted = list(wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise TopicsError(
            f"topics missing: {', '.join(missing)}; `pipeline topics` declares the pipeline's own"
        )
    wrong = [f"{name} has {found[name]}" for name in wanted if found[name] != partitions]
    if wrong:
        raise TopicsError(
            f"topics must have {partitions} partitions (PIPELINE_PARTITIONS), but {', '.join(wrong)}: "
            f"set PIPELINE_PARTITIONS to what they have. A topic that has records keeps its number, since "
            f"equal keys would no longer meet in one partition: `pipeline rebuild --recreate-topics` changes "
            f"it"
        )


def declare_topics(
    admin: AdminClient,
    topics: Iterable[Topic],
    *,
    partitions: int,
    replication: int,
    timeout_seconds: float = 30.0,
) -> list[str]:
    """Create the topics that do not exist and set the configuration of those that do.

    Returns:
        the names of the topics that were created.

    Raises:
        TopicsError: the broker cannot be reached or refuses, or a topic has another partition count.
    """
    topics = list(topics)
    found = partition_counts(admin, timeout_seconds)
    existing = [topic for topic in topics if topic.name in found]
    check_topics(found, [topic.name for topic in existing], partitions)
    new = [
        NewTopic(topic.name, num_partitions=partitions, replication_factor=replication, config=topic.config())
        for topic in topics
        if topic.name not in found
    ]
    futures = admin.create_topics(new, operation_timeout=timeout_seconds) if new else {}
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicsError(f"topic {name} cannot be created: {error.args[0].str()}") from error
    _set_configuration(admin, existing)
    return sorted(futures)


def delete_topics(admin: AdminClient, topics: Iterable[str], timeout_seconds: float = 30.0) -> None:
    """Delete those topics that exist, with all that is in them, and wait until they are gone.

    Raises:
        TopicsError: the broker refuses, or they are still there after the time.
    """
    names = set(topics) & partition_counts(admin).keys()
    futures = admin.delete_topics(sorted(names), operation_timeout=timeout_seconds) if names else {}
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            raise TopicsError(f"topic {name} cannot be deleted: {error.args[0].str()}") from error
    deadline = time.monotonic() + timeout_seconds
    while names & partition_counts(admin).keys():
        if time.monotonic() > deadline:
            raise TopicsError(
                f"topics are still there after {timeout_seconds:.0f} s: {', '.join(sorted(names))}"
            )
        time.sleep(0.2)


def _set_configuration(admin: AdminClient, topics: list[Topic]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in topic.config().items()
            ],
        )
        for topic in topics
    ]
    futures = admin.incremental_alter_configs(resources) if resources else {}
    for resource, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            raise TopicsError(f"topic {resource.name} cannot be configured: {error.args[0].str()}") from error
