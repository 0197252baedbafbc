"""The same stages and sinks in one process, without brokers: for a rebuild, and for trying whole paths.

Records are routed by topic and by the partition of their key, as Kafka would. What differs is only the order
of batches, which no stage may depend on, and that nothing can be lost on the way: there is no changelog. The
state lies in local stores, so memory is bounded; afterwards it can be taken out.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from aiokafka.partitioner import murmur2

from streams.engine.batch import Batch, NoState, Output, Result, Stage
from streams.engine.store import StoreMemory, open_store
from streams.silver import Revision

BATCH_RECORDS: Final = 5_000
FIRST_OFFSET: Final = -(2**40)
"""Offsets here are negative, so that whatever a broker hands out later compares greater."""


class OfflineRecord(NamedTuple):
    """A record as a broker would hand it over (`streams.engine.batch.Record`)."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: int
    offset: int


class Written(NamedTuple):
    """What a sink did with a batch: records to send, and the offsets of those that it has refused."""

    outputs: Sequence[Output] = ()
    refused: Collection[int] = ()


OfflineSink = Callable[[Batch], Written]


class StateEntry(NamedTuple):
    """The state of one key at the end."""

    stage: str
    partition: int
    key: bytes
    value: bytes


class _State:
    """The state of one partition of one stage."""

    def __init__(self, path: Path, memory: StoreMemory) -> None:
        self._store = open_store(path, memory)

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._store.get(key)
        return value

    def keys_below(self, bound: bytes, limit: int) -> list[bytes]:
        found: list[bytes] = []
        entries = self._store.iter()
        entries.seek_to_first()
        while len(found) < limit and entries.valid() and entries.key() < bound:
            found.append(entries.key())
            entries.next()
        return found

    def take(self, step: Result) -> None:
        for key, value in step.changes.items():
            if value:
                self._store.put(key, value)
            else:
                self._store.delete(key)
        for key in step.expired:
            self._store.delete(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        yield from self._store.items()

    def close(self) -> None:
        self._store.close()


class OfflineEngine:
    """Runs stages and sinks on records that are fed to it.

    A topic's sink comes before its stages, and what it refuses does not reach them: what is computed agrees
    with what is stored.

    Args:
        stages: pure steps.
        sinks: by topic, what writes its records elsewhere.
        partitions: that every topic is divided into.
        folder: an empty one, for the state.
        epoch: of the revisions that are made, milliseconds since 1970.
        memory: that the state may use.
        clock: the wall clock that stages are given.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        sinks: Mapping[str, OfflineSink],
        *,
        partitions: int,
        folder: Path,
        epoch: int,
        memory: StoreMemory | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stages: defaultdict[str, list[Stage]] = defaultdict(list)
        for stage in stages:
            self._stages[stage.topic].append(stage)
        self._sinks = sinks
        self._partitions = partitions
        self._folder = folder
        self._epoch = epoch
        self._memory = memory or StoreMemory()
        self._clock = clock
        self._states: dict[tuple[str, int], _State] = {}
        self._waiting: dict[tuple[str, int], list[OfflineRecord]] = {}
        self._next_offset: defaultdict[tuple[str, int], int] = defaultdict(lambda: FIRST_OFFSET)

    def feed(self, topic: str, record: Output, timestamp_ms: int | None = None) -> None:
        """Put a record into a topic; it is worked on by `drain`.

        Args:
            topic: where to; `record.topic` is not looked at.
            record: key, value and headers.
            timestamp_ms: of the record, milliseconds since 1970; now if it is not given.
        """
        if topic not in self._stages and topic not in self._sinks:
            return
        place = (topic, partition_of(record.key, self._partitions))
        headers = [(name, _bytes(value)) for name, value in record.headers]
        timestamp = round(self._clock().timestamp() * 1000) if timestamp_ms is None else timestamp_ms
        offset = self._next_offset[place]
        self._next_offset[place] += 1
        self._waiting.setdefault(place, []).append(
            OfflineRecord(record.key, record.value, headers, timestamp, offset)
        )

    def drain(self) -> None:
        """Work on everything that waits, and on all that comes of it."""
        while self._waiting:
            place = next(iter(self._waiting))
            records = self._waiting.pop(place)
            for start in range(0, len(records), BATCH_RECORDS):
                self._work(*place, records[start : start + BATCH_RECORDS])

    def states(self) -> Iterator[StateEntry]:
        """Give the whole state."""
        for (stage, partition), state in self._states.items():
            for key, value in state.items():
                yield StateEntry(stage, partition, key, value)

    def close(self) -> None:
        """Let go of the state's files."""
        for state in self._states.values():
            state.close()
        self._states.clear()

    def _work(self, topic: str, partition: int, records: list[OfflineRecord]) -> None:
        batch = _batch(topic, partition, records)
        sink = self._sinks.get(topic)
        if sink is not None:
            written = sink(batch)
            self._send(written.outputs)
            if written.refused:
                refused = frozenset(written.refused)
                batch = _batch(topic, partition, [r for r in records if r.offset not in refused])
        if not batch.records:
            return
        for stage in self._stages[topic]:
            state = self._state(stage, partition) if stage.stateful else None
            revision = Revision(self._epoch, batch.next - 1)
            result = stage.process(batch, state or NoState(), revision, self._clock())
            for step in result.steps():
                if state is not None:
                    state.take(step)
                self._send(step.outputs)

    def _send(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            self.feed(output.topic, output)

    def _state(self, stage: Stage, partition: int) -> _State:
        key = (stage.name, partition)
        if key not in self._states:
            self._states[key] = _State(self._folder / stage.name / str(partition), self._memory)
        return self._states[key]


def partition_of(key: bytes | None, partitions: int) -> int:
    """Give the partition of a key as every producer of ours does (murmur2, like Java's); 0 without a key."""
    return 0 if key is None else (murmur2(key) & 0x7FFFFFFF) % partitions


def _batch(topic: str, partition: int, records: Sequence[OfflineRecord]) -> Batch:
    start, end = (records[0].offset, records[-1].offset + 1) if records else (0, 0)
    return Batch(topic, partition, records, start, end, assignment=None)


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
