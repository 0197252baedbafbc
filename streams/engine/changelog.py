"""Changelogs: their names, and reading one from an offset to its end in bulk; what fails is raised."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.engine.batch import Stage
from streams.kafka import KafkaConfig
from streams.topics import Topic

OPEN_TRANSACTION_SECONDS: Final = 90.0
"""As long a rebuild's transaction may stay open that was killed, and a little longer."""


class Change(NamedTuple):
    """A record of a changelog: the state of a key after some batch, behind its revision; None deletes it."""

    key: bytes
    packed: bytes | None


class Chunk(NamedTuple):
    """Some records of a changelog that follow each other, and the offset behind the last of them."""

    changes: list[Change]
    next: int


class ChangelogError(Exception):
    """A changelog cannot be read; state may not be trusted without it."""


def changelog_topic(app_id: str, table: str) -> str:
    """Give the name of a table's changelog."""
    return f"{app_id}-{table}-changelog"


def changelog_topics(app_id: str, stages: Sequence[Stage]) -> list[Topic]:
    """Give the changelogs of stages, to be declared."""
    return [Topic(changelog_topic(app_id, s.name), compacted=True) for s in stages if s.stateful]


def new_consumer(kafka: KafkaConfig, *, committed_only: bool = False) -> Consumer:
    """Make a consumer without a group, for reading from given offsets to the end, or for asking for ends.

    Args:
        kafka: where.
        committed_only: the end is where the first open transaction begins, and what was aborted is left out.
    """
    return Consumer(
        {
            **kafka.librdkafka(),
            "group.id": "unused: nothing is committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed" if committed_only else "read_uncommitted",
            "queued.max.messages.kbytes": 16_384,
            "fetch.wait.max.ms": 50,
        }
    )


def end_offsets(consumer: Consumer, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Give the offset after the last record of each partition; without those it does not answer for."""
    found = {}
    for topic, partition in partitions:
        try:
            _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
        except KafkaException:
            break  # the broker is away: not this worker's standstill
        found[topic, partition] = high
    return found


def _change(message: Message) -> Change:
    key, value = message.key(), message.value()
    if not isinstance(key, bytes) or not (value is None or isinstance(value, bytes)):
        raise ChangelogError(f"offset {message.offset()} is no record of a table: it has no key")
    return Change(key, value)


class ChangelogReader:
    """Reads one partition of a changelog.

    Args:
        kafka: where.
        topic: the changelog.
        partition: of the changelog.
        bounds_from: a consumer that may be shared by all readers of a process, for asking offsets only.
    """

    def __init__(self, kafka: KafkaConfig, topic: str, partition: int, bounds_from: Consumer) -> None:
        self._kafka = kafka
        self._tp = (topic, partition)
        self._bounds_from = bounds_from

    def bounds(self) -> tuple[int, int]:
        """Give the first offset kept and the offset after the last."""
        try:
            low, high = self._bounds_from.get_watermark_offsets(TopicPartition(*self._tp), timeout=15)
        except KafkaException as error:
            raise ChangelogError(f"{self._tp}: {error.args[0].str()}") from error
        return low, high

    def read(self, start: int) -> Iterator[Chunk]:
        """Give everything from an offset to the end, in chunks; an open transaction is waited for.

        Raises:
            ChangelogError: the broker says something else than records or their end, or the transaction stays
                open.
        """
        _low, end = self.bounds()
        consumer = new_consumer(self._kafka, committed_only=True)
        deadline = time.monotonic() + OPEN_TRANSACTION_SECONDS
        try:
            consumer.assign([TopicPartition(*self._tp, start)])
            reached = start
            while reached < end:
                changes: list[Change] = []
                behind = start
                for message in consumer.consume(10_000, timeout=0.2):
                    error = message.error()
                    if error is None:
                        changes.append(_change(message))
                        behind = (message.offset() or 0) + 1
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                        reached = message.offset() or 0
                    else:
                        raise ChangelogError(f"{self._tp}: {error.str()}")
                if changes:
                    deadline = time.monotonic() + OPEN_TRANSACTION_SECONDS
                    yield Chunk(changes, behind)
                elif time.monotonic() > deadline:
                    raise ChangelogError(
                        f"{self._tp}: what comes from offset {reached} on is in an open transaction"
                    )
        finally:
            consumer.close()
