"""Databases of a test's own, on the server that all tests share."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo


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
