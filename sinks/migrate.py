"""The database's schema brought up to date: revisions of Alembic, run without an ini file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from sinks.schema import SCHEMAS, metadata
from sinks.views import create_views

MIGRATIONS: Final = Path(__file__).parent / "migrations"
LOCK_KEY: Final = 7_301_846_259_912
"""Key of the advisory lock that lets one process migrate at a time."""

VERSION_TABLE: Final = "alembic_version"
DEFAULT_GAP_SECONDS: Final = 1800


class MigrationError(Exception):
    """The database cannot be migrated or is not as this version needs it; the message says what to do."""


def upgrade(url: str, *, session_gap_seconds: int = DEFAULT_GAP_SECONDS) -> list[str]:
    """Bring the database to the newest revision; harmless when it is there already, or done twice at a time.

    Args:
        url: libpq URL of the database, which must exist.
        session_gap_seconds: how long after its last event `silver_live_sessions` calls a session live.

    Returns:
        the ids of the revisions that were applied, oldest first.

    Raises:
        MigrationError: the database cannot be reached or refuses, or is at a revision this version does not
            know.
    """
    with _connect(url) as connection:
        # Waits for another process that is migrating; released with the connection.
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS ops"))
        connection.commit()
        missing = _missing(connection)
        if missing:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        with connection.begin():
            create_views(connection.connection.driver_connection, session_gap_seconds)  # type: ignore[arg-type]  # psycopg's, as the URL says
    return missing


def check(url: str) -> str | None:
    """Say what is wrong with the database's schema, None when it is as this version needs it.

    Raises:
        MigrationError: the database cannot be reached, or is at a revision this version does not know.
    """
    with _connect(url) as connection:
        missing = _missing(connection)
    if not missing:
        return None
    return f"the database lacks revision {', '.join(missing)}: run `pipeline migrate`"


def configure_options() -> dict[str, Any]:
    """Give how Alembic compares and where it keeps its version: our schemas only, without partitions."""
    return {
        "target_metadata": metadata,
        "version_table": VERSION_TABLE,
        "version_table_schema": "ops",
        "include_schemas": True,
        "include_name": _is_ours,
        "compare_type": True,
        "compare_server_default": False,
        "transaction_per_migration": True,
    }


def _is_ours(name: str | None, kind: str, parents: Any) -> bool:
    if kind == "schema":
        return name in SCHEMAS and name != "gold"
    if kind == "table":
        # Partitions are made by revisions (facts) and by the bronze sink (days): not in the metadata.
        return f"{parents['schema_name']}.{name}" in metadata.tables
    return True


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _missing(connection: Connection) -> list[str]:
    scripts = ScriptDirectory.from_config(_config())
    current = MigrationContext.configure(connection, opts=configure_options()).get_current_revision()
    connection.rollback()
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    if current is None:
        return revisions
    if current not in revisions:
        raise MigrationError(
            f"the database is at revision {current}, which this version does not know: "
            "install the version that made it"
        )
    return revisions[revisions.index(current) + 1 :]


@contextmanager
def _connect(url: str) -> Iterator[Connection]:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={"connect_timeout": 10},
    )
    try:
        connection = engine.connect()
    except OperationalError as error:
        # The driver tells neither from the other: a connection that fails has no SQLSTATE.
        raise MigrationError(
            f"Postgres cannot be reached or refuses the connection ({_one_line(error)}): does it run, is "
            "PIPELINE_POSTGRES_URL right?"
        ) from error
    try:
        with connection:
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        raise MigrationError(f"Postgres refuses: {_one_line(error)}") from error


def _one_line(error: DBAPIError | psycopg.Error) -> str:
    return " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
