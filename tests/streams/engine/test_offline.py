"""The offline engine routes, keeps state and refuses as workers and brokers do."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.batch import Batch, Output, Result, StateReader
from streams.engine.offline import FIRST_OFFSET, OfflineEngine, StateEntry, Written, partition_of
from streams.silver import Revision

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Splitter:
    """Hands each word of a value on, under the word as its key."""

    name = "split"
    topic = "lines"
    stateful = False
    state_settings: Mapping[str, str] = {}

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002
        words = (word for record in batch.records for word in (record.value or b"").split())
        return Result([Output("words", word, word) for word in words])


class Keeper:
    """Keeps which words it has seen, and says at which revision it learned of them; forgets those below b."""

    name = "keep"
    topic = "words"
    stateful = True
    state_settings: Mapping[str, str] = {}

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:
        assert now == NOW
        words = {record.key or b"" for record in batch.records}
        fresh = sorted(word for word in words if state.get(word) is None)
        told = Result([Output("told", word, b"%d:%d" % revision) for word in fresh])
        told.then = Result(changes=dict.fromkeys(words, b"seen"), expired=state.keys_below(b"b", 10))
        return told


@pytest.fixture
def told() -> list[bytes]:
    return []


@pytest.fixture
def engine(tmp_path: Path, told: list[bytes]) -> Iterator[OfflineEngine]:
    def refuse_swearing(batch: Batch) -> Written:
        bad = [record.offset for record in batch.records if record.key == b"damn"]
        return Written([Output("told", b"!", b"a word was refused") for _ in bad], bad)

    def tell(batch: Batch) -> Written:
        told.extend(record.key or b"" for record in batch.records)
        return Written()

    engine = OfflineEngine(
        [Splitter(), Keeper()],
        {"words": refuse_swearing, "told": tell},
        partitions=4,
        folder=tmp_path,
        epoch=7,
        clock=lambda: NOW,
    )
    yield engine
    engine.close()


def states(engine: OfflineEngine) -> dict[bytes, StateEntry]:
    return {entry.key: entry for entry in engine.states()}


def test_what_is_fed_goes_through_all_stages_that_follow(engine: OfflineEngine, told: list[bytes]) -> None:
    engine.feed("lines", Output("lines", None, b"to be or not to be"))
    engine.drain()
    engine.feed("lines", Output("lines", None, b"to be sure"))
    engine.drain()
    assert sorted(told) == [b"be", b"not", b"or", b"sure", b"to"]
    assert set(states(engine)) == {b"to", b"be", b"or", b"not", b"sure"}


def test_a_key_lies_in_the_partition_that_a_broker_would_give_it(engine: OfflineEngine) -> None:
    engine.feed("lines", Output("lines", None, b"alpha beta gamma delta"))
    engine.drain()
    for key, entry in states(engine).items():
        assert entry == StateEntry("keep", partition_of(key, 4), key, b"seen")


def test_what_a_sink_refuses_does_not_reach_the_stages_behind_it(
    engine: OfflineEngine, told: list[bytes]
) -> None:
    engine.feed("lines", Output("lines", None, b"well damn it"))
    engine.drain()
    assert set(states(engine)) == {b"well", b"it"}
    assert sorted(told) == [b"!", b"it", b"well"]


def test_keys_that_expire_are_gone(engine: OfflineEngine) -> None:
    for line in (b"aa b", b"aa c"):
        engine.feed("lines", Output("lines", None, line))
    engine.drain()
    for _ in range(4):  # a batch in every partition
        engine.feed("lines", Output("lines", None, b"e f g h i j k l m"))
        engine.drain()
    assert b"aa" not in states(engine)


def test_revisions_rise_and_stay_below_those_of_brokers(tmp_path: Path) -> None:
    seen: list[Revision] = []

    class Watcher(Splitter):
        def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:
            seen.append(revision)
            return super().process(batch, state, revision, now)

    watching = OfflineEngine([Watcher()], {}, partitions=1, folder=tmp_path, epoch=9)
    for _ in range(3):
        watching.feed("lines", Output("lines", None, b"x"))
        watching.drain()
    assert seen == [Revision(9, FIRST_OFFSET + number) for number in range(3)]
    assert seen[-1] < Revision(9, 0)


# As Kafka's own DefaultPartitioner has them (org.apache.kafka.common.utils.Utils.murmur2, UtilsTest).
MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
}


@pytest.mark.parametrize("key", MURMUR2)
def test_partitions_are_those_of_javas_partitioner(key: bytes) -> None:
    assert partition_of(key, 1000) == (MURMUR2[key] & 0x7FFFFFFF) % 1000


@given(st.binary(), st.integers(1, 64))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
