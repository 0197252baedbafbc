"""Local copies of state: where they lie, whose they are, and what the state in them depends on."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from confluent_kafka.admin import AdminClient
from filelock import FileLock, Timeout

from streams.engine.batch import Stage
from streams.engine.changelog import ChangelogReader, changelog_topic, new_consumer
from streams.engine.config import EngineConfig
from streams.engine.store import StoreMemory
from streams.engine.table import PartitionTable
from streams.topics import topic_ids

_locks: list[FileLock] = []


def table_opener(config: EngineConfig, stages: Sequence[Stage]) -> Callable[[Stage, int], PartitionTable]:
    """Give what opens the table of a stage and partition, in a folder that is this worker's alone.

    Raises:
        TopicsError: the brokers do not say which topics they have.
    """
    folder = own_folder(config.state_dir / config.app_id)
    bounds_from = new_consumer(config.kafka)
    memory = StoreMemory(config.state_memory_bytes)
    settings = state_settings(config, stages)
    changelogs = {s.name: changelog_topic(config.app_id, s.name) for s in stages if s.stateful}
    ids = topic_ids(AdminClient(config.kafka.librdkafka()), changelogs.values())

    def open_table(stage: Stage, partition: int) -> PartitionTable:
        topic = changelogs[stage.name]
        changelog = ChangelogReader(config.kafka, topic, partition, bounds_from)
        path = copy_path(folder / stage.name, ids[topic], partition)
        return PartitionTable(path, changelog, memory=memory, settings=settings[stage.name])

    return open_table


def copy_path(folder: Path, changelog_id: str, partition: int) -> Path:
    """Give where a partition's local copy is; copies of a changelog that was made again since are deleted.

    Offsets alone do not tell them apart: the new changelog may have grown past where the old one ended.
    """
    of_changelog = changelog_id.replace("/", "_")
    for other in folder.glob("*"):
        if other.name != of_changelog:
            shutil.rmtree(other, ignore_errors=True)
    return folder / of_changelog / str(partition)


def state_settings(config: EngineConfig, stages: Iterable[Stage]) -> dict[str, dict[str, str]]:
    """Give, by stage, what its state depends on: its own settings, and the topic that it was read from.

    A topic that was made again counts its offsets from 0 again, so revisions would go back; a topic that is
    divided otherwise leads a key to another partition than its state.

    Raises:
        TopicsError: the brokers do not say which topics they have.
    """
    stateful = [stage for stage in stages if stage.stateful]
    ids = topic_ids(AdminClient(config.kafka.librdkafka()), {stage.topic for stage in stateful})
    return {
        stage.name: {
            **stage.state_settings,
            "partitions": str(config.partitions),
            f"id of {stage.topic}": ids[stage.topic],
        }
        for stage in stateful
    }


def own_folder(parent: Path) -> Path:
    """Take the first folder that no other worker on this machine has, counted from 0.

    A restarted worker finds the copy of the one before it; two workers never share one. The lock is the
    operating system's, so it ends with the process however that ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        lock = FileLock(parent / f"{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            number += 1
        else:
            _locks.append(lock)
            return parent / str(number)
