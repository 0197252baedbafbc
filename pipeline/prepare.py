"""What has to be there before workers start: topics on the broker, tables in the database."""

from confluent_kafka.admin import AdminClient

from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from streams.topics import TOPICS, declare_topics


def make_topics(settings: Settings) -> list[str]:
    """Declare all topics, and give the names of those that are new.

    Raises:
        TopicsError: Kafka cannot be reached or refuses, or a topic has another partition count.
    """
    from pipeline.stages import changelogs  # noqa: PLC0415  (Faust is slow to import)

    admin = AdminClient(settings.kafka.librdkafka())
    return declare_topics(
        admin,
        [*TOPICS, *changelogs(settings)],
        partitions=settings.partitions,
        replication=settings.kafka_replication,
    )


def migrate_database(settings: Settings) -> list[str]:
    """Bring the database to the newest schema, and give the revisions that were applied.

    Raises:
        MigrationError: the database cannot be reached, or is newer than this version knows.
    """
    from sinks.migrate import upgrade  # noqa: PLC0415  (SQLAlchemy and Alembic are slow to import)

    return upgrade(settings.postgres_url.get_secret_value(), session_gap_seconds=settings.session_gap_seconds)


def prepare_readers(settings: Settings) -> str | None:
    """Give the readers' role what it may read; harmless when done again.

    Returns:
        what the operator has to do, in one line, if the database's user may not make the role; else None.

    Raises:
        MigrationError: the database cannot be reached, or its user does not own the tables.
    """
    from sinks.roles import prepare_reader  # noqa: PLC0415  (SQLAlchemy and Alembic are slow to import)

    password = settings.reader_password
    return prepare_reader(
        settings.postgres_url.get_secret_value(),
        settings.reader_role,
        password=password.get_secret_value() if password else None,
    )


def start_pipeline(platform: LocalPlatform) -> None:
    """Bring database and topics up to date, and start the workers.

    Raises:
        MigrationError: the database is newer than this version knows.
        TopicsError: a topic has another partition count.
    """
    for revision in migrate_database(platform.settings):
        platform.say(f"database: applied {revision}")
    to_do = prepare_readers(platform.settings)
    if to_do:
        platform.say(f"database: {to_do}")
    made = make_topics(platform.settings)
    if made:
        platform.say(f"kafka: created {len(made)} topics")
    platform.start_workers()
