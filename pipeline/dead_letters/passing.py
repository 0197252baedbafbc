"""Waiting until what was sent is through, also while other records keep coming."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.dead_letters import store
from pipeline.dead_letters.letters import Identity
from pipeline.dead_letters.replay import CHUNK
from pipeline.dead_letters.selection import OPEN, Selection
from pipeline.dead_letters.telling import Fates
from pipeline.errors import UserError
from streams.events import STREAMS
from streams.groups import committed_offsets
from streams.kafka import KafkaConfig
from streams.topics import (
    CLEAN_EVENTS,
    CLEAN_LOGS,
    CLEAN_PRODUCTS,
    DEAD_LETTERS,
    PROCESS_GROUP,
    SINK_GROUP,
    KafkaUnreachableError,
    raw_topic,
)

POLL_SECONDS: Final = 0.5
TIMEOUT_SECONDS: Final = 10.0
_STEPS: Final = (
    (PROCESS_GROUP, tuple(map(raw_topic, STREAMS))),
    # Sinks of facts find conflicts, which are dead letters: so these are looked at last.
    (SINK_GROUP, (CLEAN_EVENTS, CLEAN_PRODUCTS, CLEAN_LOGS)),
    (SINK_GROUP, (DEAD_LETTERS,)),
)
"""The way of a replayed record, hop by hop: who must have done with which topics."""


def wait_through(kafka: KafkaConfig, timeout_seconds: float) -> None:
    """Wait until all that is on the raw topics now, and what comes of it, is in the tables.

    Raises:
        UserError: it is not in time, or Kafka does not answer.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        for group, topics in _STEPS:
            ends = _end_offsets(kafka, topics)
            while any(committed_offsets(kafka, group, topics).get(place, 0) < ends[place] for place in ends):
                if time.monotonic() > deadline:
                    raise UserError(
                        f"not everything is through after {timeout_seconds:.0f} s: see `pipeline status`, "
                        f"then `pipeline dead-letters list`"
                    )
                time.sleep(POLL_SECONDS)
    except KafkaUnreachableError as error:
        raise UserError(f"{error}: what became of the records is not known yet") from error


def failed_again(connection: store.Connection, sent: Sequence[Identity]) -> Fates:
    """Count the letters, of those that were sent and are through, that are open again."""
    found: Fates = Counter()
    for start in range(0, len(sent), CHUNK):
        chunk = tuple(sent[start : start + CHUNK])
        for letter in store.letters(connection, Selection(identities=chunk, statuses=OPEN)):
            found[letter.reason, letter.status] += 1
    return found


def _end_offsets(kafka: KafkaConfig, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    consumer = Consumer({**kafka.librdkafka(), "group.id": SINK_GROUP, "enable.auto.commit": False})
    try:
        known = consumer.list_topics(timeout=TIMEOUT_SECONDS).topics
        return {
            (topic, partition): consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS
            )[1]
            for topic in topics
            for partition in known[topic].partitions
        }
    except KafkaException as error:
        raise KafkaUnreachableError(f"Kafka does not answer ({error.args[0].str()})") from error
    finally:
        consumer.close()
