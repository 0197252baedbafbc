"""The whole path behind Kinesis in one process: real stages and sinks on a real database, without brokers."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.settings import Settings
from pipeline.stages import stages_of
from sinks.registry import SINKS, open_database
from streams.dead_letters import dead_letter_key, encode_dead_letter
from streams.engine.batch import Batch, Output, placed
from streams.engine.offline import OfflineEngine, Written
from streams.ingest.messages import Message
from streams.topics import DEAD_LETTERS


class OfflinePath:
    """Takes records for raw topics, and has written all that comes of them when `send` returns."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._database = open_database(settings.postgres_url.get_secret_value())
        self._engine = OfflineEngine(
            stages_of(settings, accept_flood=True),
            {topic: lambda batch, topic=topic: self._write(topic, batch) for topic in SINKS},  # type: ignore[misc]  # mypy does not infer a lambda's default
            partitions=settings.partitions,
            folder=folder,
            epoch=1,
        )

    def send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            at = int(dict(message.headers)["kinesis_arrived_at"] or 0) + 250
            self._engine.feed(message.topic, Output(*message), at)
        self._engine.drain()

    def forward(self, messages: Iterable[Message]) -> None:
        """Be a forwarder (`streams.ingest.forwarder`)."""
        self.send(messages)

    def close(self) -> None:
        self._engine.close()
        self._database.close()

    def _write(self, topic: str, batch: Batch) -> Written:
        letters = SINKS[topic](self._database, placed(batch.records, batch.partition))
        return Written([Output(DEAD_LETTERS, dead_letter_key(x), encode_dead_letter(x)) for x in letters])
