"""Bronze through all stages and sinks into a second set of silver, in this process."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import psycopg

from pipeline.settings import Settings
from pipeline.stages import stages_of
from sinks.rebuild import SCRATCH
from sinks.rebuild_source import bronze_records
from sinks.registry import SINKS, open_database
from sinks.registry import Sink as Write
from streams.dead_letters import DeadLetter, dead_letter_key, encode_dead_letter
from streams.engine.batch import Batch, Output, placed
from streams.engine.offline import OfflineEngine, OfflineSink, Written
from streams.engine.store import StoreMemory, open_store
from streams.events import STREAM_OF_TYPE, STREAMS, key_of
from streams.silver import REVISION
from streams.topics import (
    DEAD_LETTERS,
    SILVER_CUSTOMERS,
    SILVER_PRODUCTS,
    SILVER_SESSIONS,
    raw_topic,
)
from streams.transport import identity_of, to_headers

ENTITIES: Final = (SILVER_CUSTOMERS, SILVER_PRODUCTS, SILVER_SESSIONS)
"""Topics that hold one record a key: what is in them is replaced along with the tables."""
CHUNK: Final = 10_000
"""Records of bronze that are fed before all that comes of them is worked on."""


class Computed:
    """What a rebuild has computed: the tables are in the schema `SCRATCH`, the rest is here.

    Attributes:
        engine: with the state of all stages.
        epoch: of all revisions, milliseconds since 1970.
        fed: how many records it was computed from.
    """

    def __init__(self, settings: Settings, folder: Path, *, accept_flood: bool) -> None:
        memory = StoreMemory(settings.state_memory_mb * 1024 * 1024)
        self.fed = 0
        self.epoch = round(datetime.now(UTC).timestamp() * 1000)
        # However old an event is: what keeps live state small is no reason to leave it out here.
        self.stages = stages_of(
            settings.model_copy(update={"session_retention_days": 0}), accept_flood=accept_flood
        )
        self._entities = open_store(folder / "entities", memory)
        self._database = open_database(
            settings.postgres_url.get_secret_value(), search_path=(SCRATCH, "bronze")
        )
        sinks = {
            topic: self._offline_sink(topic, write)
            for topic, write in SINKS.items()
            if not topic.startswith("raw.")
        }
        self.engine = OfflineEngine(
            self.stages,
            sinks,
            partitions=settings.partitions,
            folder=folder / "state",
            epoch=self.epoch,
            memory=memory,
        )

    def run(
        self,
        connection: psycopg.Connection[Any],
        *,
        wanted: Callable[[bytes], bool] = lambda _value: True,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Read bronze, and work on all of it or on what is wanted.

        Args:
            connection: to read bronze with.
            wanted: told the bytes of a record.
            advance: told how many more records were read.

        Raises:
            OperatorError: most of the records are broken; see `--accept-flood`.
            psycopg.Error: the database does not answer.
        """
        for stream in STREAMS:
            number = 0
            with connection.transaction():
                for number, (identity, value) in enumerate(bronze_records(connection, stream), start=1):
                    if wanted(value):
                        topic = raw_topic(stream)
                        record = Output(
                            topic, key_of(value, identity.partition_key), value, to_headers(identity)
                        )
                        self.engine.feed(topic, record, identity.arrived_at_ms)
                        self.fed += 1
                    if number % CHUNK == 0:
                        self.engine.drain()
                        advance(CHUNK)
                self.engine.drain()
                advance(number % CHUNK)

    def entities(self) -> Iterator[Output]:
        """Give the last record of each key of the topics `ENTITIES`."""
        for stored in self._entities.values():
            topic, record_key, value, revision = _decode_entity(cast("bytes", stored))
            yield Output(topic, record_key, value, [(REVISION, revision)])

    def close(self) -> None:
        """Let go of files and connections."""
        self.engine.close()
        self._entities.close()
        self._database.close()

    def _offline_sink(self, topic: str, write: Write) -> OfflineSink:
        if topic in ENTITIES:
            return partial(self._keep_and_write, topic, write)
        return partial(self._write, write)

    def _keep_and_write(self, topic: str, write: Write, batch: Batch) -> Written:
        for record in batch.records:
            revision = next(value for name, value in record.headers if name == REVISION)
            key = topic.encode() + b"\0" + (record.key or b"")
            self._entities.put(key, _encode_entity((topic, record.key or b"", record.value, revision)))
        return self._write(write, batch)

    def _write(self, write: Write, batch: Batch) -> Written:
        letters = write(self._database, placed(batch.records, batch.partition))
        outputs = [
            Output(DEAD_LETTERS, dead_letter_key(letter), encode_dead_letter(letter)) for letter in letters
        ]
        return Written(outputs, refused_offsets(batch, letters))


_encode_entity = msgspec.msgpack.encode
_decode_entity = msgspec.msgpack.Decoder(tuple[str, bytes, bytes | None, bytes]).decode


class _Typed(msgspec.Struct):
    event_type: str = "log"


_decode_type = msgspec.json.Decoder(_Typed).decode


def refused_offsets(batch: Batch, letters: list[DeadLetter]) -> set[int]:
    """Find the records of a batch of a `clean.*` topic that dead letters speak of, by transport identity."""
    if not letters:
        return set()
    refused = {
        (one.stream, one.stream_epoch, one.shard, one.sequence_number, one.sub_sequence_number)
        for one in letters
    }
    places = {place[1:] for place in refused}
    found = set()
    for record in batch.records:
        place = identity_of("", batch.partition, record)[1:5]
        # Streams count alike, so the stream has to be looked up; but only for the few that may be meant.
        if (
            place in places
            and (STREAM_OF_TYPE[_decode_type(record.value or b"").event_type], *place) in refused
        ):
            found.add(record.offset)
    return found
