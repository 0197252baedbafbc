"""A rebuild from its beginning to its end: compute beside, publish the state, swap the tables.

Whatever happens in between, running it again leads to the same end. The state goes first, in one transaction
of Kafka that only recovery reads: workers that start after a crash go on from the state that was computed,
with the tables as they were, and what they send replaces rows there as it always does. The records of entity
topics come last; the tables do not need them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
from confluent_kafka.admin import AdminClient

from pipeline.errors import UserError
from pipeline.gold.build import LOCK_KEY as GOLD_LOCK
from pipeline.rebuild.compute import ENTITIES, Computed
from pipeline.rebuild.state import (
    Revisions,
    forbid_work,
    publish_all,
    publish_visitors,
    records_of_all,
    records_of_visitors,
)
from pipeline.settings import Settings
from pipeline.stages import changelogs
from pipeline.visitors import visitor_of
from sinks import rebuild as tables
from sinks.rebuild_source import facts_without_bronze, linked_visitors
from sinks.roles import grant_reader
from sinks.views import create_views
from streams.engine.publish import send_all
from streams.groups import put_at_end
from streams.topics import (
    SILVER_CUSTOMERS,
    SILVER_PRODUCTS,
    SILVER_SESSIONS,
    SINK_GROUP,
    TOPICS,
    declare_topics,
    delete_topics,
)

STATE_OF: Final[Mapping[str, tuple[str, str]]] = {
    "silver_sessions": ("sessions", SILVER_SESSIONS),
    "silver_customers": ("customers", SILVER_CUSTOMERS),
    "silver_products": ("products", SILVER_PRODUCTS),
}
"""By table: the stage whose state it shows, and the topic that it is written from."""
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
    accept_loss: bool = False,
    recreate_topics: bool = False,
    advance: Callable[[int], None] = lambda _: None,
    changing: Callable[[], None] = lambda: None,
) -> Rebuilt:
    """Make silver again, or only some of its tables; the caller has seen to it that nothing is under way.

    Args:
        settings: what it is made with.
        only: names of tables to put in place; none: all of silver.
        accept_flood: go on when most records are broken.
        accept_loss: go on when bronze does not have everything that silver was made from.
        recreate_topics: delete the topics and declare them again, with the number of partitions of today.
        advance: told how many more records of bronze were read.
        changing: called before anything that is live is changed.

    Raises:
        UserError: another rebuild is running, gold does not end, or days of bronze are missing.
        OperatorError: most of the records are broken.
        TopicsError: the brokers refuse.
        psycopg.Error: the database does not answer.
    """
    with (
        _rebuilding(settings) as (connection, folder),
        _computed(settings, folder, accept_flood=accept_flood) as computed,
    ):
        _require_bronze(connection, None, accept_loss=accept_loss)
        computed.run(connection, advance=advance)
        settled = tables.settle_letters(connection)
        tables.keep_outcomes(connection)
        vanished = tables.vanished_session_days(connection)
        if recreate_topics:
            changing()
            _recreate_topics(settings, computed)
        stages = {STATE_OF[table][0] for table in only if table in STATE_OF} if only else None
        topics = [STATE_OF[table][1] for table in only if table in STATE_OF] if only else list(ENTITIES)
        with _gold_held(connection):
            changing()
            publish_all(settings, computed, stages)
            with connection.transaction():
                if only:
                    tables.take_tables(connection, only)
                else:
                    tables.swap(connection)
                    create_views(connection, settings.session_gap_seconds)
                    grant_reader(connection, settings.reader_role)
        kept_old = None if only else _drop_retired(connection)
        send_all(settings.kafka, records_of_all(computed, vanished, topics))
        put_at_end(settings.kafka, SINK_GROUP, topics)
        return Rebuilt(computed.fed, settled, kept_old)


def rebuild_visitors(
    settings: Settings,
    *,
    visitors: Collection[str],
    accept_flood: bool = False,
    accept_loss: bool = False,
    advance: Callable[[int], None] = lambda _: None,
    changing: Callable[[], None] = lambda: None,
) -> Rebuilt:
    """Make facts, sessions and profiles of some visitors again, and of those linked to them.

    Args:
        settings: as they were made with; workers would refuse the state otherwise.
        visitors: customers' or anonymous ids.
        accept_flood: go on when most records are broken.
        accept_loss: go on when bronze does not have everything that silver was made from.
        advance: told how many more records of bronze were read.
        changing: called before anything that is live is changed.

    Raises:
        UserError: as `rebuild_all`; or there is no state that could be corrected.
    """
    with (
        _rebuilding(settings) as (connection, folder),
        _computed(settings, folder, accept_flood=accept_flood) as computed,
    ):
        wanted = set(visitors) | linked_visitors(connection, visitors)
        _require_bronze(connection, wanted, accept_loss=accept_loss)
        computed.run(connection, wanted=lambda value: visitor_of(value) in wanted, advance=advance)
        settled = tables.settle_letters(connection)
        vanished = tables.vanished_session_days(connection, wanted)
        if not computed.fed:
            _require_sessions_only(connection, wanted, vanished)
        revisions = Revisions(settings, computed, folder)
        with _gold_held(connection):
            changing()
            publish_visitors(settings, computed, vanished, revisions)
            tables.stamp_revisions(
                connection,
                {visitor: revisions.of("sessions", visitor.encode()) for visitor in wanted},
                {visitor: revisions.of("customers", visitor.encode()) for visitor in wanted},
            )
            with connection.transaction():
                tables.take_visitors(connection, wanted)
        send_all(settings.kafka, records_of_visitors(computed, vanished, revisions))
        put_at_end(settings.kafka, SINK_GROUP, (SILVER_CUSTOMERS, SILVER_SESSIONS))
        return Rebuilt(computed.fed, settled)


def _recreate_topics(settings: Settings, computed: Computed) -> None:
    """Delete all topics and declare them; workers refuse what is there until the new state is published."""
    admin = AdminClient(settings.kafka.librdkafka())
    of_states = changelogs(settings)
    for topics in (of_states, TOPICS):
        delete_topics(admin, [topic.name for topic in topics])
        declare_topics(admin, topics, partitions=settings.partitions, replication=settings.kafka_replication)
        if topics is of_states:
            forbid_work(settings, computed)


@contextmanager
def _rebuilding(settings: Settings) -> Iterator[tuple[psycopg.Connection[Any], Path]]:
    """Give a connection, with the second set made, and a folder for the state."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="rebuild-", dir=settings.home) as folder,
        psycopg.connect(settings.postgres_url.get_secret_value(), autocommit=True) as connection,
    ):
        left_over = _drop_retired(connection)
        if left_over is not None:
            raise UserError(
                f"the tables from before the last rebuild are still there, since something of yours was made "
                f"on them ({left_over}): make it again on silver, and then "
                f"`DROP SCHEMA {tables.RETIRED} CASCADE`"
            )
        with connection.transaction():
            tables.begin(connection)
        try:
            yield connection, Path(folder)
        finally:
            if not connection.broken:
                tables.drop_scratch(connection)


def _require_bronze(
    connection: psycopg.Connection[Any], visitors: Collection[str] | None, *, accept_loss: bool
) -> None:
    lost = 0 if accept_loss else facts_without_bronze(connection, visitors)
    if lost:
        raise UserError(
            f"{lost} facts came on days that bronze no longer has: a rebuild would lose them, and all that "
            f"follows from them. To accept that, run this again with --accept-loss"
        )


def _require_sessions_only(
    connection: psycopg.Connection[Any], visitors: Collection[str], vanished: Collection[object]
) -> None:
    """Refuse to go on without a record, unless sessions are all that is there, of what was refused since."""
    if not vanished:
        raise UserError("bronze has no record of them: are the ids right? Nothing was changed")
    profiles = "SELECT FROM silver.silver_customers WHERE customer_id = ANY(%s) LIMIT 1"
    if connection.execute(profiles.encode(), (list(visitors),)).fetchone() is not None:
        raise UserError(
            "nothing of theirs in bronze is a fact, but there is a profile, whose state only a whole rebuild "
            "begins anew: run `pipeline rebuild` without naming any. Nothing was changed"
        )


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
