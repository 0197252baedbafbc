"""What it takes to make tables of gold like those that were built aside: pure, no I/O."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

ASIDE: Final = "gold_next"
"""Schema in which dbt builds what may become gold; no reader looks there."""
GOLD: Final = "gold"
UPDATED_AT: Final = "dbt_updated_at"
"""Column that two rows with the same content may differ in."""
MARK: Final = "Published by `pipeline gold`"
"""How the comment of a table begins that is ours: its name might be that of a table of somebody else's."""
EVERYWHERE: Final = sql.SQL("true")
"""Condition that all rows meet."""
COMMENT: Final = f"{MARK}, which drops it when the project has it no more."


class PublicationError(Exception):
    """What was built cannot be published; the message says why, and what an operator can do."""


@dataclass(frozen=True)
class Shape:
    """A relation, as the catalogue has it.

    Args:
        columns: names and types.
        indexes: each without its name and its table: `UNIQUE INDEX|btree (day, model)`.
        is_table: false for a view, or anything else.
        is_ours: it bears `MARK`.
        rows: how many there were when it was analysed last; 0 if it never was.
    """

    columns: Mapping[str, str]
    indexes: frozenset[str] = frozenset()
    is_table: bool = True
    is_ours: bool = True
    rows: float = 0


@dataclass(frozen=True)
class Changes:
    """How the tables that are there differ from what was built, beside their rows; all by name, in order.

    Args:
        created: those that are not there.
        columns: of those whose columns or types differ: what to alter.
        unmarked: those that do not bear `MARK` yet.
        retired: ours, which the project has no more.
    """

    created: tuple[str, ...]
    columns: Mapping[str, sql.Composable]
    unmarked: tuple[str, ...]
    retired: tuple[str, ...]

    @property
    def exclusive(self) -> tuple[str, ...]:
        """Tables that readers have to be kept from for a moment."""
        return (*self.columns, *self.retired)


def find_changes(names: Sequence[str], aside: Mapping[str, Shape], live: Mapping[str, Shape]) -> Changes:
    """Give how the tables of gold differ from those aside, rows and indexes left out.

    Columns are added and dropped where they are: a table that is made again would be empty to a transaction
    that began before, and could not have views on it.

    Args:
        names: of the tables to be published.
        aside: relations in `ASIDE`.
        live: relations in `GOLD`.

    Raises:
        PublicationError: one of them is no table aside, or its name is taken by something else in gold.
    """
    for name in names:
        if name not in aside or not aside[name].is_table:
            raise PublicationError(f"{ASIDE}.{name} is no table")
        if name in live and not live[name].is_table:
            raise PublicationError(
                f"{GOLD}.{name} is not a table, but has the name of one of ours: rename it"
            )
    return Changes(
        created=tuple(name for name in names if name not in live),
        columns={
            name: _alterations(aside[name].columns, live[name].columns)
            for name in names
            if name in live and aside[name].columns != live[name].columns
        },
        unmarked=tuple(name for name in names if name not in live or not live[name].is_ours),
        retired=tuple(
            sorted(
                name for name, shape in live.items() if shape.is_ours and shape.is_table and name not in names
            )
        ),
    )


def _alterations(wanted: Mapping[str, str], found: Mapping[str, str]) -> sql.Composable:
    # A column of another type is dropped and added: its values come with the rows, which all differ then.
    gone = [name for name in found if wanted.get(name) != found[name]]
    fresh = [name for name in wanted if found.get(name) != wanted[name]]
    return sql.SQL(", ").join(
        [
            *(sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in gone),
            *(
                sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(name), as_is(wanted[name]))
                for name in fresh
            ),
        ]
    )


def alter_tables(changes: Changes) -> Iterator[sql.Composed]:
    """Give the statements after which the tables that stay can take the rows of those aside."""
    for name in changes.created:
        yield sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(in_gold(name), built_aside(name))
    for name, alterations in changes.columns.items():
        yield sql.SQL("ALTER TABLE {} {}").format(in_gold(name), alterations)
    for name in changes.unmarked:
        yield sql.SQL("COMMENT ON TABLE {} IS {}").format(in_gold(name), sql.Literal(COMMENT))


def add_indexes(
    names: Sequence[str], aside: Mapping[str, Shape], live: Mapping[str, Shape]
) -> Iterator[sql.Composed]:
    """Give the statements that make the indexes that tables lack; any others may be somebody's, and stay."""
    for name in names:
        for index in sorted(aside[name].indexes - live[name].indexes):
            kind, _, definition = index.partition("|")
            yield sql.SQL("CREATE {} ON {} USING {}").format(as_is(kind), in_gold(name), as_is(definition))


def as_is(text: str) -> sql.SQL:
    """Give SQL that the database has told, to be said again."""
    return sql.SQL(text)


def key_of(aside: Shape, live: Shape) -> tuple[str, ...]:
    """Give the columns that name a row of a table aside and of the one that readers see; none if none do."""
    for index in sorted(aside.indexes & live.indexes):
        if columns := re.fullmatch(r"UNIQUE INDEX\|btree \(([a-z0-9_, ]+)\)", index):
            return tuple(columns[1].split(", "))
    return ()


def find_keys_of_differing(name: str, columns: Mapping[str, str], key: Sequence[str]) -> sql.Composed:
    """Give the statement that notes the keys of rows that differ in any bit, or that only one table has.

    It costs a fraction of the comparison as text, which is then left with few rows.
    """
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    compared = sql.SQL(", ").join(sql.Identifier(column) for column in columns if column != UPDATED_AT)
    return sql.SQL(
        """
        CREATE TEMPORARY TABLE keys_of_differing ON COMMIT DROP AS
        SELECT {keys}
        FROM (SELECT {keys}, ROW({compared}) AS content FROM {live}) AS live
        FULL JOIN (SELECT {keys}, ROW({compared}) AS content FROM {next}) AS next USING ({keys})
        WHERE (live.content *= next.content) IS NOT TRUE
        """
    ).format(keys=keys, compared=compared, live=in_gold(name), next=built_aside(name))


def is_differing(key: Sequence[str]) -> sql.Composed:
    """Give the condition of rows whose key was noted; where a part of it is null, it names no row."""
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    return sql.SQL(
        "(({keys}) IN (SELECT {keys} FROM pg_temp.keys_of_differing) OR num_nulls({keys}) > 0)"
    ).format(keys=keys)


def find_differences(
    name: str, columns: Mapping[str, str], condition: sql.Composable = EVERYWHERE
) -> sql.Composed:
    """Give the statement that notes where the rows are that are gone (`gone`) and new (`added`).

    Rows are compared as text, which tells apart whatever can be seen to differ (1.0 and 1.00 among it), and
    holds nulls for alike. Of rows that are there several times only the surplus is noted.

    Args:
        name: of the table.
        columns: of it, with their types.
        condition: of the rows that are looked at; of others it is known that they are the same.
    """
    compared = sql.SQL(", ").join(sql.Identifier(column) for column in columns if column != UPDATED_AT)
    return sql.SQL(
        """
        CREATE TEMPORARY TABLE differing ON COMMIT DROP AS
        SELECT
            live[coalesce(cardinality(next), 0) + 1:] AS gone,
            next[coalesce(cardinality(live), 0) + 1:] AS added
        FROM (
            SELECT
                array_agg(place) FILTER (WHERE is_live) AS live,
                array_agg(place) FILTER (WHERE NOT is_live) AS next
            FROM (
                SELECT true AS is_live, ctid AS place, ROW({compared})::text AS content FROM {live}
                WHERE {condition}
                UNION ALL
                SELECT false, ctid, ROW({compared})::text FROM {next} WHERE {condition}
            ) AS rows_of_both
            GROUP BY content
            HAVING count(*) FILTER (WHERE is_live) <> count(*) FILTER (WHERE NOT is_live)
        ) AS places
        """
    ).format(compared=compared, live=in_gold(name), next=built_aside(name), condition=condition)


def count_both(name: str) -> sql.Composed:
    """Give the query for the number of rows that readers see, and of those that were built aside."""
    return sql.SQL("SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {})").format(
        in_gold(name), built_aside(name)
    )


def remove_gone(name: str) -> sql.Composed:
    """Give the statement that deletes the rows that are gone."""
    return sql.SQL(
        "DELETE FROM {} WHERE ctid = ANY (ARRAY(SELECT unnest(gone) FROM pg_temp.differing))"
    ).format(in_gold(name))


def add_new(name: str, columns: Mapping[str, str]) -> sql.Composed:
    """Give the statement that inserts the rows that are new."""
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL(
        """
        INSERT INTO {live} ({listed})
        SELECT {listed} FROM {next} WHERE ctid = ANY (ARRAY(SELECT unnest(added) FROM pg_temp.differing))
        """
    ).format(live=in_gold(name), listed=listed, next=built_aside(name))


def in_gold(name: str) -> sql.Identifier:
    """Give the name of a table that readers see."""
    return sql.Identifier(GOLD, name)


def built_aside(name: str) -> sql.Identifier:
    """Give the name of a table that was built aside."""
    return sql.Identifier(ASIDE, name)
