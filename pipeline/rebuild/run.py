"""A rebuild from its beginning to its end: compute beside, publish the state, swap the tables.

Whatever happens in between, running it again leads to the same end. The state and the topics of entities go
first, in one transaction of Kafka: workers that start after a crash go on from the state that was computed,
with the tables as they were, and what they send replaces rows there as it always does.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import psycopg
from confluent_kafka.admin import AdminClient

from pipeline.errors import UserError
from pipeline.gold import LOCK_KEY as GOLD_LOCK
from pipeline.rebuild.compute import ENTITIES, Computed
from pipeline.settings import Settings
from pipeline.stages import changelogs, stages_of
from pipeline.visitors import visitor_of
from pipeline.workers import engine_config
from processors.sessions.keys import CLOCK_KEY, day_key
from sinks import rebuild as tables
from sinks.roles import grant_reader
from sinks.views import create_views
from streams.engine.app import changelog_topic, state_settings
from streams.engine.batch import Output
from streams.engine.changelog import ChangelogReader, new_consumer
from streams.engine.offline import partition_of
from streams.engine.publish import Entry, publish
from streams.engine.table import PartitionTable
from streams.groups import committed_offsets, put_at_end
from streams.silver import REVISION, Customer, Revision, SessionDay, encode_silver
from streams.topics import (
    PROCESS_GROUP,
    SILVER_CUSTOMERS,
    SILVER_PRODUCTS,
    SILVER_SESSIONS,
    SINK_GROUP,
    TOPICS,
    declare_topics,
    delete_topics,
)

EPOCH_DAY: Final = date(1970, 1, 1)
STATE_OF: Final[Mapping[str, tuple[str, str]]] = {
    "silver_sessions": ("sessions", SILVER_SESSIONS),
    "silver_customers": ("customers", SILVER_CUSTOMERS),
    "silver_products": ("products", SILVER_PRODUCTS),
}
"""By table: the stage whose state it shows, and the topic that it is written from."""
LOCK_KEY: Final = 7_301_846_259_921
"""Key of the advisory lock that lets one rebuild run at a time."""
GOLD_WAIT: Final = "15min"


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        records: of bronze that were worked on.
        letters_settled: dead letters that are facts now.
        kept_old: why the tables from before could not be dropped, None if they are gone.
    """

    records: int
    letters_settled: int
    kept_old: str | None = None


def rebuild_all(
    settings: Settings,
    *,
    only: Collection[str] = (),
    accept_flood: bool = False,
    recreate_topics: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Rebuilt:
    """Make silver again, or only some of its tables; the caller has seen to it that nothing is under way.

    Args:
        settings: what it is made with.
        only: names of tables to put in place; none: all of silver.
        accept_flood: go on when most records are broken.
        recreate_topics: delete the topics and declare them again, with the number of partitions of today.
        advance: told how many more records of bronze were read.

    Raises:
        UserError: another rebuild is running, or gold does not end.
        OperatorError: most of the records are broken.
        TopicsError: the brokers refuse.
        psycopg.Error: the database does not answer.
    """
    with (
        _rebuilding(settings) as (connection, folder),
        _computed(settings, folder, accept_flood=accept_flood) as computed,
    ):
        records = computed.run(connection, advance=advance)
        settled = tables.settle_letters(connection)
        tables.keep_outcomes(connection)
        if recreate_topics:
            _recreate_topics(settings)
        stages = {STATE_OF[table][0] for table in only if table in STATE_OF} if only else None
        topics = [STATE_OF[table][1] for table in only if table in STATE_OF] if only else list(ENTITIES)
        with _gold_held(connection):
            _publish_all(settings, computed, tables.vanished_session_days(connection), stages, topics)
            with connection.transaction():
                if only:
                    tables.take_tables(connection, only)
                else:
                    tables.swap(connection)
                    create_views(connection, settings.session_gap_seconds)
                    grant_reader(connection, settings.reader_role)
        put_at_end(settings.kafka, SINK_GROUP, topics)
        return Rebuilt(records, settled, None if only else _drop_retired(connection))


def rebuild_visitors(
    settings: Settings,
    *,
    visitors: Collection[str],
    accept_flood: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Rebuilt:
    """Make facts, sessions and profiles of some visitors again, and of those linked to them.

    Args:
        settings: as they were made with; workers would refuse the state otherwise.
        visitors: customers' or anonymous ids.
        accept_flood: go on when most records are broken.
        advance: told how many more records of bronze were read.

    Raises:
        UserError: as `rebuild_all`; or there is no state that could be corrected.
    """
    with (
        _rebuilding(settings) as (connection, folder),
        _computed(settings, folder, accept_flood=accept_flood) as computed,
    ):
        wanted = set(visitors) | tables.linked_visitors(connection, visitors)
        records = computed.run(
            connection, wanted=lambda value, _key: visitor_of(value) in wanted, advance=advance
        )
        settled = tables.settle_letters(connection)
        vanished = tables.vanished_session_days(connection, wanted)
        revisions = _Revisions(settings, computed, folder)
        with _gold_held(connection):
            _publish_visitors(settings, computed, vanished, revisions)
            tables.stamp_revisions(
                connection,
                {visitor: revisions.of("sessions", visitor.encode()) for visitor in wanted},
                {visitor: revisions.of("customers", visitor.encode()) for visitor in wanted},
            )
            with connection.transaction():
                tables.take_visitors(connection, wanted)
        put_at_end(settings.kafka, SINK_GROUP, (SILVER_CUSTOMERS, SILVER_SESSIONS))
        return Rebuilt(records, settled)


_decode_session_day = msgspec.json.Decoder(SessionDay).decode
_decode_customer = msgspec.json.Decoder(Customer).decode


class _Revisions:
    """Revisions that correct a state that goes on: above all before, below all that will come."""

    def __init__(self, settings: Settings, computed: Computed, folder: Path) -> None:
        self._settings = settings
        self._folder = folder / "recovered"
        self._topic_of = {stage.name: stage.topic for stage in computed.stages}
        self._offsets = committed_offsets(settings.kafka, PROCESS_GROUP, set(self._topic_of.values()))
        self._epochs: dict[tuple[str, int], int] = {}

    def of(self, stage: str, key: bytes) -> Revision:
        """Give it for a Kafka key that the stage reads."""
        return self.of_partition(stage, partition_of(key, self._settings.partitions))

    def of_partition(self, stage: str, partition: int) -> Revision:
        """Give it for a partition of the stage."""
        if (stage, partition) not in self._epochs:
            self._epochs[stage, partition] = self._epoch(stage, partition)
        offset = self._offsets[self._topic_of[stage], partition] - 1
        return Revision(self._epochs[stage, partition], offset)

    def _epoch(self, stage: str, partition: int) -> int:
        kafka = self._settings.kafka
        bounds_from = new_consumer(kafka)
        changelog = ChangelogReader(kafka, changelog_topic(PROCESS_GROUP, stage), partition, bounds_from)
        table = PartitionTable(self._folder / stage / str(partition), changelog)
        try:
            table.recover()
            if table.new_epoch is not None:
                raise UserError(
                    f"the state of {stage} has been lost, so it cannot be corrected for some visitors: "
                    f"run `pipeline rebuild` without naming any"
                )
            return table.epoch
        finally:
            table.close()
            bounds_from.close()


def _publish_visitors(
    settings: Settings, computed: Computed, vanished: list[tuple[str, date]], revisions: _Revisions
) -> None:
    def entries() -> Iterator[Entry]:
        for stage, partition, key, value in computed.engine.states():
            if stage in {"sessions", "customers"} and key != CLOCK_KEY:
                yield Entry(stage, partition, key, value, revisions.of_partition(stage, partition))
        for visitor, day in vanished:
            key = day_key(visitor, (day - EPOCH_DAY).days)
            partition = partition_of(visitor.encode(), settings.partitions)
            yield Entry("sessions", partition, key, b"", revisions.of_partition("sessions", partition))

    def outputs() -> Iterator[Output]:
        for output in computed.entities():
            if output.topic == SILVER_SESSIONS:
                sessions = _decode_session_day(output.value or b"")
                revision = revisions.of("sessions", sessions.visitor_id.encode())
                value = encode_silver(msgspec.structs.replace(sessions, revision=revision))
            elif output.topic == SILVER_CUSTOMERS:
                customer = _decode_customer(output.value or b"")
                revision = revisions.of("customers", customer.customer_id.encode())
                value = encode_silver(msgspec.structs.replace(customer, revision=revision))
            else:
                continue
            yield output._replace(value=value, headers=[(REVISION, revision.to_header())])
        for visitor, day in vanished:
            yield _no_sessions(visitor, day, revisions.of("sessions", visitor.encode()))

    publish(settings.kafka, PROCESS_GROUP, entries(), outputs(), begun={}, partitions=settings.partitions)


def _publish_all(
    settings: Settings,
    computed: Computed,
    vanished: list[tuple[str, date]],
    only_stages: Collection[str] | None,
    topics: Collection[str],
) -> None:
    revision = Revision(computed.epoch, 0)
    begun = {
        stage: (computed.epoch, made_with)
        for stage, made_with in state_settings(
            engine_config(settings, PROCESS_GROUP), stages_of(settings)
        ).items()
        if only_stages is None or stage in only_stages
    }

    def entries() -> Iterator[Entry]:
        for stage, partition, key, value in computed.engine.states():
            if stage in begun:
                yield Entry(stage, partition, key, value, revision)

    def outputs() -> Iterator[Output]:
        yield from (output for output in computed.entities() if output.topic in topics)
        if SILVER_SESSIONS in topics:
            yield from (_no_sessions(visitor, day, revision) for visitor, day in vanished)

    publish(settings.kafka, PROCESS_GROUP, entries(), outputs(), begun=begun, partitions=settings.partitions)


def _no_sessions(visitor: str, day: date, revision: Revision) -> Output:
    value = SessionDay(visitor_id=visitor, day=day, revision=revision, sessions=[])
    key = f"{visitor}|{day}".encode()
    return Output(SILVER_SESSIONS, key, encode_silver(value), [(REVISION, revision.to_header())])


def _recreate_topics(settings: Settings) -> None:
    admin = AdminClient(settings.kafka.librdkafka())
    topics = [*TOPICS, *changelogs(settings)]
    delete_topics(admin, [topic.name for topic in topics])
    declare_topics(admin, topics, partitions=settings.partitions, replication=settings.kafka_replication)


@contextmanager
def _rebuilding(settings: Settings) -> Iterator[tuple[psycopg.Connection[Any], Path]]:
    """Give a connection that holds the lock of rebuilds, the second set made, and a folder for the state."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="rebuild-", dir=settings.home) as folder,
        psycopg.connect(settings.postgres_url.get_secret_value(), autocommit=True) as connection,
    ):
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
        if row != (True,):
            raise UserError("another rebuild is running")
        with connection.transaction():
            tables.begin(connection)
        try:
            yield connection, Path(folder)
        finally:
            if not connection.broken:
                tables.drop_scratch(connection)


@contextmanager
def _computed(settings: Settings, folder: Path, *, accept_flood: bool) -> Iterator[Computed]:
    computed = Computed(settings, folder, accept_flood=accept_flood)
    try:
        yield computed
    finally:
        computed.close()


@contextmanager
def _gold_held(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Keep gold from reading while tables are swapped: its snapshot would see the new ones empty."""
    connection.execute(f"SET lock_timeout = '{GOLD_WAIT}'".encode())
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (GOLD_LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise UserError(f"gold has been building for {GOLD_WAIT}: stop it, and run this again") from error
    connection.execute("RESET lock_timeout")
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", (GOLD_LOCK,))


def _drop_retired(connection: psycopg.Connection[Any]) -> str | None:
    try:
        with connection.transaction():
            tables.drop_retired(connection)
    except psycopg.errors.DependentObjectsStillExist as error:
        return " ".join(str(error.diag.message_detail or error).split())
    return None
