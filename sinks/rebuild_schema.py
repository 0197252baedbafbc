"""A second set of the silver tables in a schema of its own, for a rebuild to write to and to swap in."""

from typing import Any, Final

import psycopg
from sqlalchemy import MetaData, create_mock_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import ExecutableDDLElement

from sinks.schema import FACT_PARTITIONS, FACTS, metadata, ops_changes, ops_hops, ops_session_revisions

BOOKS: Final = (ops_changes.name, ops_hops.name, ops_session_revisions.name)
"""Tables of `ops` that writers fill along with silver, so that a second set of silver has its own."""

_dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def create_silver(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """Create a schema with all tables of `silver`, empty, and its own of those filled along with it.

    Names of tables, partitions, indexes and constraints are those of the live ones, so that they can be
    moved to `silver` and `ops` by `ALTER TABLE … SET SCHEMA` or a renamed schema.

    Args:
        connection: the caller commits.
        schema: that does not exist yet. A writer finds its tables with the search path
            `(schema, "silver", "bronze", "ops")`, or without `silver` to be sure.

    Returns:
        the names of the tables (partitions not among them).

    Raises:
        psycopg.errors.DuplicateSchema: the schema exists.
        psycopg.errors.InsufficientPrivilege: the role may not create it.
    """
    copies = MetaData(naming_convention=metadata.naming_convention)
    tables = [
        table.to_metadata(copies, schema=schema)
        for table in metadata.sorted_tables
        if table.schema == "silver" or table.name in BOOKS
    ]
    connection.execute(f'CREATE SCHEMA "{schema}"'.encode())

    def run(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        connection.execute(str(statement.compile(dialect=_dialect)).encode())

    copies.create_all(create_mock_engine("postgresql+psycopg://", run), checkfirst=False)
    for table in FACTS:
        for remainder in range(FACT_PARTITIONS):
            connection.execute(
                f'CREATE TABLE "{schema}".{table.name}_{remainder} PARTITION OF "{schema}".{table.name} '
                f"FOR VALUES WITH (MODULUS {FACT_PARTITIONS}, REMAINDER {remainder})".encode()
            )
    return [table.name for table in tables]
