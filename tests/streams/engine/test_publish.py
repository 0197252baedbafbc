"""A state that is published is there whole or not at all, and nobody recovers beside an open transaction."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline.local.platform import LocalPlatform
from streams.engine import changelog as changelogs
from streams.engine.changelog import ChangelogError, ChangelogReader, changelog_topic, new_consumer
from streams.engine.publish import Entry, publish
from streams.engine.table import EPOCH_KEY, PartitionTable, epoch_record, pack
from streams.kafka import KafkaConfig
from streams.silver import Revision
from streams.topics import Topic, declare_topics

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


class State:
    """A stage's changelog of one partition, with a state of epoch 1 in it."""

    def __init__(self, kafka: KafkaConfig, app_id: str, folder: Path) -> None:
        self.kafka, self.app_id, self._folder = kafka, app_id, folder
        self.topic = changelog_topic(app_id, "keep")
        declare_topics(
            AdminClient(kafka.librdkafka()), [Topic(self.topic, compacted=True)], partitions=1, replication=1
        )
        self.producer = Producer(kafka.librdkafka_producer())
        self.write(EPOCH_KEY, epoch_record(1, {"gap": "30"}))
        self.write(b"k", pack(Revision(1, 5), b"old"))

    def write(self, key: bytes, value: bytes) -> None:
        self.producer.produce(self.topic, value, key, 0)
        self.producer.flush()

    def recovered(self) -> dict[bytes, bytes | None]:
        self._folder = self._folder / "x"
        bounds = new_consumer(self.kafka)
        table = PartitionTable(self._folder, ChangelogReader(self.kafka, self.topic, 0, bounds))
        try:
            table.recover()
            return {key: table.get(key) for key in (b"k", b"l")}
        finally:
            table.close()
            bounds.close()

    def publish(self, entries: Iterator[Entry]) -> None:
        publish(
            self.kafka, self.app_id, entries, expected=1, begun={"keep": (2, {"gap": "30"})}, partitions=1
        )


@pytest.fixture
def state(platform: LocalPlatform, unique: Callable[[str], str], tmp_path: Path) -> State:
    return State(KafkaConfig(platform.kafka_bootstrap), unique("published"), tmp_path)


def entries() -> Iterator[Entry]:
    yield Entry("keep", 0, b"l", b"new", Revision(2, 0))


def test_a_published_state_takes_the_place_of_the_one_before(state: State) -> None:
    state.publish(entries())
    assert state.recovered() == {b"k": None, b"l": b"new"}


def test_a_state_that_could_not_be_computed_to_its_end_is_not_published_at_all(state: State) -> None:
    def broken() -> Iterator[Entry]:
        yield from entries()
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        state.publish(broken())
    state.write(b"k", pack(Revision(1, 6), b"written since"))
    assert state.recovered() == {b"k": b"written since", b"l": None}


def test_beside_an_open_transaction_nobody_recovers_until_the_next_publication_has_ended_it(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a rebuild leaves it that was killed; what workers write behind it cannot be read."""
    killed = Producer({**state.kafka.librdkafka_producer(), "transactional.id": f"{state.app_id}-rebuild"})
    killed.init_transactions()
    killed.begin_transaction()
    killed.produce(state.topic, pack(Revision(2, 0), b"half"), b"l", 0)
    killed.flush()
    state.write(b"k", pack(Revision(1, 6), b"written since"))
    monkeypatch.setattr(changelogs, "OPEN_TRANSACTION_SECONDS", 2.0)
    with pytest.raises(ChangelogError, match="in an open transaction"):
        state.recovered()
    state.publish(entries())
    assert state.recovered() == {b"k": None, b"l": b"new"}
