"""The role of readers: it reads everything but what is personal.

Bronze and dead letters hold events as they came, so they are the operator's alone; of customers, the columns
that `sinks.schema` marks as personal. All the rest of silver, the books of ops, and what dbt builds is open.
"""

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from sinks.migrate import LOCK_KEY, MigrationError
from sinks.schema import PERSONAL, dead_letters, metadata
from sinks.views import open_columns

DEFAULT_READER: Final = "pipeline_reader"
READABLE: Final = ("silver", "ops", "core", "gold")
BUILT: Final = frozenset({"core", "gold"})
"""Schemas whose tables a build of gold makes and drops: readers may read what is yet to be made there."""

ATTEMPTS: Final = 5
HIDDEN: Final = frozenset({dead_letters.name})
PARTLY_HIDDEN: Final = frozenset(
    table.name
    for table in metadata.tables.values()
    if table.schema == "silver" and any(column.comment == PERSONAL for column in table.columns)
)


def prepare_reader(url: str, role: str = DEFAULT_READER, *, password: str | None = None) -> str | None:
    """Make the readers' role if it is missing, and give it what it may read; harmless when done again.

    Args:
        url: libpq URL of a migrated database, as the role that owns the tables.
        role: that can log in, and of which other roles may be made members.
        password: of the role; None leaves it as it is (a new one can then not log in by password).

    Returns:
        what the operator has to do, in one line, if the user of the URL may not make or change roles; None if
        all is done.

    Raises:
        MigrationError: the database cannot be reached, or its user does not own the tables.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _prepare(url, role, password)
        except (psycopg.errors.InternalError_, psycopg.errors.UndefinedTable) as error:
            # Another process has dropped or changed a table while it was granted.
            if attempt == ATTEMPTS - 1:
                raise MigrationError(_refused(error)) from error
        except psycopg.Error as error:
            raise MigrationError(_refused(error)) from error
    raise AssertionError("the last attempt returns or raises")


def _refused(error: psycopg.Error) -> str:
    return f"Postgres does not let readers in: {' '.join(str(error).split())}"


def _prepare(url: str, role: str, password: str | None) -> str | None:
    with psycopg.connect(url, connect_timeout=10) as connection:
        # As migrations do: two that grant at the same time disturb each other.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        if not _exists(connection, role) and not _create(connection, role):
            return (
                f"readers have no role yet, since the database's user may not make one: as a superuser run "
                f'`CREATE ROLE "{role}" LOGIN`, and then `pipeline migrate` again'
            )
        grant_reader(connection, role)
        if password is not None and not _set_password(connection, role, password):
            return (
                f"the password of readers was not set, since the database's user may not change roles: as a "
                f'superuser run `ALTER ROLE "{role}" PASSWORD …`'
            )
    return None


def grant_reader(
    connection: psycopg.Connection[Any], role: str = DEFAULT_READER, schemas: Sequence[str] = READABLE
) -> bool:
    """Give readers what they may read in some schemas as they are now; of silver and ops they lose all else.

    To be called after tables were made or swapped. Schemas of `BUILT` need it once: what is made there later
    by the same user can be read at once. The caller commits; until then readers have what they had.

    Args:
        connection: as the role that owns the tables.
        role: of the readers.
        schemas: of `READABLE`; those that are missing are made.

    Returns:
        False, and nothing is done, if there is no such role.

    Raises:
        ValueError: a schema is not for readers.
        psycopg.errors.InsufficientPrivilege: the user does not own a table.
    """
    if not set(schemas) <= set(READABLE):
        raise ValueError(f"readers read {', '.join(READABLE)}, not {', '.join(schemas)}")
    if not _exists(connection, role):
        return False
    for schema in schemas:
        for statement in _grants(connection, schema, role):
            connection.execute(statement)
    return True


def _grants(connection: psycopg.Connection[Any], schema: str, role: str) -> list[sql.Composed]:
    names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
    texts = ["CREATE SCHEMA IF NOT EXISTS {schema}"] if not _schema_exists(connection, schema) else []
    texts.append("GRANT USAGE ON SCHEMA {schema} TO {role}")
    if schema in BUILT:
        texts.append("ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}")
    else:
        # Of a table it takes what was given of its columns, too.
        texts.append("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}")
    if schema == "ops":
        texts.append("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    statements = [sql.SQL(text).format(**names) for text in texts]
    if schema in BUILT:
        statements += _missing_grants(connection, schema, role)
    return statements + (_silver_grants(connection, role) if schema == "silver" else [])


def _missing_grants(connection: psycopg.Connection[Any], schema: str, role: str) -> list[sql.Composed]:
    # Only those that lack it: dbt may be dropping and renaming tables at this moment, and a grant that meets
    # it makes one of the two fail.
    rows = connection.execute(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
            AND NOT has_table_privilege(%s, oid, 'SELECT')
        """,
        (schema, role),
    ).fetchall()
    return [
        sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(schema, name), sql.Identifier(role))
        for (name,) in rows
    ]


def _silver_grants(connection: psycopg.Connection[Any], role: str) -> list[sql.Composed]:
    # Table by table, so that one nobody has thought of stays closed. Partitions are read through their table.
    whole = sorted({table.name for table in metadata.tables.values() if table.schema == "silver"})
    views = connection.execute(
        "SELECT viewname FROM pg_views WHERE schemaname = 'silver' ORDER BY viewname"
    ).fetchall()
    statements = []
    for name in [*whole, *(view for (view,) in views)]:
        if name in HIDDEN:
            continue
        columns: sql.Composable = sql.SQL("")
        if name in PARTLY_HIDDEN:
            columns = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, open_columns(name))))
        statements.append(
            sql.SQL("GRANT SELECT{} ON {} TO {}").format(
                columns, sql.Identifier("silver", name), sql.Identifier(role)
            )
        )
    return statements


def _exists(connection: psycopg.Connection[Any], role: str) -> bool:
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None


def _schema_exists(connection: psycopg.Connection[Any], schema: str) -> bool:
    found = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    return found is not None


def _create(connection: psycopg.Connection[Any], role: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    except psycopg.errors.InsufficientPrivilege:
        return False
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        pass  # another database of the server was migrated at the same time
    return True


def _set_password(connection: psycopg.Connection[Any], role: str, password: str) -> bool:
    # Hashed here, so that it is in no log of statements.
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(hashed.decode())
                )
            )
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
