"""Which sink writes which topic."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from sinks.database import SEARCH_PATH, Database
from sinks.mapping import dead_letters, entities, facts
from sinks.writers import bronze
from sinks.writers.bronze import write_bronze
from sinks.writers.dead_letters import write_dead_letters
from sinks.writers.entities import write_entities
from sinks.writers.facts import write_facts
from streams.dead_letters import DeadLetter
from streams.engine.batch import Placed
from streams.events import STREAMS
from streams.topics import (
    CLEAN_EVENTS,
    CLEAN_LOGS,
    CLEAN_PRODUCTS,
    DEAD_LETTERS,
    SILVER_CUSTOMERS,
    SILVER_IDENTITIES,
    SILVER_LATE_EVENTS,
    SILVER_PRODUCTS,
    SILVER_SESSIONS,
    raw_topic,
)

Sink = Callable[[Database, Sequence[Placed]], list[DeadLetter]]
"""Writes records of a topic, those of a partition in their order; they are durable when it returns. What it
gives back is still to be sent to the dead letters' topic, and acknowledged, before they are done. Blocks; for
any thread."""

SINKS: Final[Mapping[str, Sink]] = {
    **{raw_topic(stream): partial(write_bronze, stream) for stream in STREAMS},
    **{topic: partial(write_facts, topic) for topic in (CLEAN_EVENTS, CLEAN_PRODUCTS, CLEAN_LOGS)},
    **{
        topic: partial(write_entities, topic)
        for topic in (
            SILVER_CUSTOMERS,
            SILVER_PRODUCTS,
            SILVER_SESSIONS,
            SILVER_IDENTITIES,
            SILVER_LATE_EVENTS,
        )
    },
    DEAD_LETTERS: write_dead_letters,
}

_STAGING: Final = (
    *bronze.STAGING.values(),
    *facts.STAGING.values(),
    entities.CUSTOMERS,
    entities.PRODUCTS,
    entities.SESSION_DAYS,
    entities.SESSIONS,
    entities.IDENTITIES,
    entities.LATE_EVENTS,
    dead_letters.STAGING,
)


def open_database(
    url: str,
    *,
    retry_seconds: float = 600.0,
    stop: threading.Event | None = None,
    search_path: Sequence[str] = SEARCH_PATH,
) -> Database:
    """Give a database that sinks can write to; connects when first used.

    Args:
        url: libpq URL.
        retry_seconds: how long a transaction is tried again while the database is away.
        stop: when set, nothing is tried again.
        search_path: schemas in which the tables are found, the first that has one.
    """
    prepare = [staging.create for staging in _STAGING]
    return Database(url, prepare=prepare, retry_seconds=retry_seconds, stop=stop, search_path=search_path)
