"""The sinks as the engine runs them: one agent a topic."""

from collections.abc import Sequence

from sinks.database import Database
from sinks.registry import SINKS
from sinks.registry import Sink as Write
from streams.dead_letters import dead_letter_key, encode_dead_letter
from streams.engine.batch import Batch, Output, Sink, placed
from streams.topics import DEAD_LETTERS


class TopicSink:
    """Writes one topic's batches; what the database refuses goes to the dead letters.

    Args:
        topic: that is written.
        write: as in `sinks.registry`.
        database: to write to.
    """

    def __init__(self, topic: str, write: Write, database: Database) -> None:
        self.name = f"sink-{topic}"
        self.topic = topic
        self._write = write
        self._database = database

    def write(self, group: Sequence[Batch]) -> Sequence[Output]:
        """Write batches together, in one transaction; blocks until it is committed.

        Raises:
            DatabaseUnavailableError: the database stayed away.
        """
        letters = self._write(
            self._database, [one for batch in group for one in placed(batch.records, batch.partition)]
        )
        return [
            Output(DEAD_LETTERS, dead_letter_key(letter), encode_dead_letter(letter)) for letter in letters
        ]


def make_sinks(database: Database) -> list[Sink]:
    """Make the sinks of all topics."""
    return [TopicSink(topic, write, database) for topic, write in SINKS.items()]
