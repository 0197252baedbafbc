"""The views of silver: made anew whenever the database is migrated or its tables are swapped."""

from typing import Any, Final

import psycopg

from sinks.schema import PERSONAL, metadata, silver_customers, silver_sessions

VIEWS: Final = ("silver_live_sessions", "silver_open_customers")


def create_views(
    connection: psycopg.Connection[Any], session_gap_seconds: int, schema: str = "silver"
) -> None:
    """Make a schema's views on its tables as they are now; grants on one that changes are to be given again.

    Args:
        connection: the caller commits.
        session_gap_seconds: how long after its last event a session is called live.
        schema: with the tables of silver.
    """
    for name, query in _views(schema, session_gap_seconds).items():
        create = f'CREATE OR REPLACE VIEW "{schema}".{name} AS {query}'.encode()
        try:
            with connection.transaction():
                connection.execute(create)
        except psycopg.errors.InvalidTableDefinition:  # other columns than before
            connection.execute(f'DROP VIEW "{schema}".{name}'.encode())
            connection.execute(create)


def drop_views(connection: psycopg.Connection[Any], schema: str) -> None:
    """Drop our views of a schema, which stand in the way of dropping its tables; the caller commits."""
    for name in VIEWS:
        connection.execute(f'DROP VIEW IF EXISTS "{schema}".{name}'.encode())


def open_columns(table: str) -> list[str]:
    """Give the columns of a table of silver that are not personal, in their order."""
    return [
        column.name for column in metadata.tables[f"silver.{table}"].columns if column.comment != PERSONAL
    ]


def _views(schema: str, session_gap_seconds: int) -> dict[str, str]:
    live, open_customers = VIEWS
    sessions = ", ".join(column.name for column in silver_sessions.columns)
    customers = ", ".join(open_columns(silver_customers.name))
    return {
        live: f"""
            SELECT {sessions} FROM "{schema}".silver_sessions
            WHERE ended_at > now() - make_interval(secs => {int(session_gap_seconds)})
        """,  # noqa: S608  (names of our own and an integer)
        # For tools that always select every column.
        open_customers: f'SELECT {customers} FROM "{schema}".silver_customers',  # noqa: S608  (as above)
    }
