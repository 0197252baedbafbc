import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sinks.database import Database
from sinks.migrate import upgrade
from sinks.registry import open_database


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The admin URL of a server: any by `TEST_POSTGRES_URL`, else the local platform's."""
    given = os.environ.get("TEST_POSTGRES_URL")
    return given or str(request.getfixturevalue("platform").postgres_url)


def database_url(server_url: str, name: str) -> str:
    """The URL of another database on the same server."""
    before, question, options = server_url.partition("?")
    return f"{before.rsplit('/', 1)[0]}/{name}{question}{options}"


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(make_conninfo(server_url), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        yield database_url(server_url, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A database without tables."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def migrated_url(server_url: str) -> Iterator[str]:
    """A database of this module's own, with our tables."""
    with new_database(server_url) as url:
        upgrade(url)
        yield url


@pytest.fixture
def store(migrated_url: str) -> Iterator[Database]:
    """A database for sinks, with our tables and nothing in them."""
    empty_tables(migrated_url)
    store = open_database(migrated_url, retry_seconds=30)
    yield store
    store.close()


def empty_tables(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            """
            SELECT format('%I.%I', n.nspname, c.relname)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname IN ('bronze', 'silver', 'ops') AND c.relkind IN ('r', 'p')
                AND NOT c.relispartition
                AND c.relname <> 'alembic_version'
            """
        ).fetchall()
        connection.execute(f"TRUNCATE {', '.join(name for (name,) in tables)}".encode())
