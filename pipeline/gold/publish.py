"""Publish gold: what dbt has built aside, and tested, becomes what readers see, in one transaction.

Only what differs is written: readers are never kept waiting, views on the tables stay, and a publication
costs what has changed. Until the commit readers see the build before, and of one that is cut off nothing.
"""

import contextlib
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from pipeline.gold.publication import (
    ASIDE,
    EVERYWHERE,
    GOLD,
    MARK,
    Changes,
    PublicationError,
    Shape,
    add_indexes,
    add_new,
    alter_tables,
    as_is,
    built_aside,
    count_both,
    find_changes,
    find_differences,
    find_keys_of_differing,
    in_gold,
    is_differing,
    key_of,
    remove_gone,
)

Connection = psycopg.Connection[Any]

LOCK_TIMEOUT: Final = "500ms"
"""Whoever queues for a table behind us waits so long at most. It is shorter than Postgres waits before it
looks for a deadlock, so that if a reader and this wait for each other, this gives way."""
ATTEMPTS: Final = 60
PAUSE_SECONDS: Final = 1.0
MUCH: Final = 0.1
"""Share of a table's rows from which on its statistics are made anew."""


class Run(NamedTuple):
    """The build that is published: its id in `ops_dbt_runs`, and the copy of silver it is made from."""

    run_id: str
    as_of: datetime | None
    copied_at: datetime | None
    to_xid: str | None


class Published(NamedTuple):
    """What a publication has written: rows; and what an operator should know though nothing failed."""

    added: int
    removed: int
    notes: list[str]


def publish(connection: Connection, names: Sequence[str], run: Run) -> Published:
    """Make the tables of gold equal to those aside, and note in the run that it is published; blocks.

    A lock that somebody holds is waited for by trying again, for about a minute and a half.

    Args:
        connection: in autocommit, opened before the build began: if the server has crashed since, which has
            emptied the tables aside, it is of no use any more, and nothing is published.
        names: of the tables.
        run: to be noted.

    Raises:
        PublicationError: gold is as it was, for a reason that an operator can do something about.
        psycopg.Error: gold is as it was.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        with contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            return _publish(connection, names, run)
    raise PublicationError(
        "somebody holds a lock on a table of gold: wait for that transaction, or end it (pg_stat_activity)"
    )


def _publish(connection: Connection, names: Sequence[str], run: Run) -> Published:
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
        # Numbers are compared as they are printed: to the last bit.
        connection.execute("SET LOCAL extra_float_digits = 1")
        # Workers would have to hand over a list of places for each row: three times as slow as without them.
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        if connection.execute("SELECT to_regnamespace(%s)", (GOLD,)).fetchone() == (None,):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(GOLD)))
        aside, live = _shapes(connection, ASIDE), _shapes(connection, GOLD)
        changes = find_changes(names, aside, live)
        _lock(connection, [name for name in names if name in live], "ROW EXCLUSIVE")
        _lock(connection, changes.exclusive, "ACCESS EXCLUSIVE")
        _change(connection, changes)
        # What does not bear our comment was made by somebody, like dbt by hand.
        as_they_were = live.keys() - {*changes.created, *changes.columns, *changes.unmarked}
        conditions = {name: known for name, known in _made_again(connection).items() if name in as_they_were}
        keys = {name: key_of(aside[name], live[name]) for name in names if name in as_they_were}
        written = {
            name: _write(connection, name, aside[name], conditions.get(name), keys.get(name, ()))
            for name in names
        }
        for statement in add_indexes(names, aside, _shapes(connection, GOLD)):
            connection.execute(statement)  # last, as a unique one need not hold of the rows before
        notes = [note for name in changes.retired if (note := _retire(connection, name))]
        added, removed = (sum(counts) for counts in zip((0, 0), *written.values(), strict=True))
        connection.execute(NOTE_PUBLISHED, {**run._asdict(), "added": added, "removed": removed})
    much = [name for name in names if sum(written[name]) > MUCH * (live[name].rows if name in live else 0)]
    if much:
        with contextlib.suppress(psycopg.Error):  # it is published, whatever becomes of its statistics
            _analyze(connection, much)
    return Published(added, removed, notes)


NOTE_PUBLISHED: Final = """
    UPDATE ops.ops_dbt_runs
    SET published_at = clock_timestamp(), as_of = %(as_of)s, copied_at = %(copied_at)s,
        to_xid = %(to_xid)s::text::xid8, rows_added = %(added)s, rows_removed = %(removed)s
    WHERE run_id = %(run_id)s
"""


def _shapes(connection: Connection, schema: str) -> dict[str, Shape]:
    rows = connection.execute(
        """
        SELECT
            relname,
            (
                SELECT coalesce(jsonb_object_agg(attname, format_type(atttypid, atttypmod)), '{}')
                FROM pg_attribute WHERE attrelid = relations.oid AND attnum > 0 AND NOT attisdropped
            ),
            ARRAY(
                SELECT CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END
                    || 'INDEX|' || substring(pg_get_indexdef(indexrelid) FROM ' USING (.*)$')
                FROM pg_index WHERE indrelid = relations.oid
            ),
            relkind = 'r',
            coalesce(obj_description(oid, 'pg_class') LIKE %(mark)s || '%%', false),
            greatest(reltuples, 0)
        FROM pg_class AS relations
        WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind NOT IN ('i', 'I', 'c')
        """,
        {"schema": schema, "mark": MARK},
    ).fetchall()
    return {
        name: Shape(columns, frozenset(indexes), is_table, is_ours, count)
        for name, columns, indexes, is_table, is_ours, count in rows
    }


def _lock(connection: Connection, names: Sequence[str], mode: str) -> None:
    # All at once, before anything is done: whoever gets one of several may have to wait for the next.
    if names:
        tables = sql.SQL(", ").join(map(in_gold, names))
        connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(tables, sql.SQL(mode)))


def _analyze(connection: Connection, names: Sequence[str]) -> None:
    tables = sql.SQL(", ").join(map(in_gold, names))
    connection.execute(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(tables))


def _change(connection: Connection, changes: Changes) -> None:
    try:
        for statement in alter_tables(changes):
            connection.execute(statement)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise PublicationError(
            f"a column is gone or of another type now, but {error.diag.message_detail}: change that first"
        ) from error


def _made_again(connection: Connection) -> dict[str, sql.Composable]:
    """Give, for tables of which only some rows were made again, the condition in SQL that these meet.

    What was affected is kept until it is published, so all other rows are those of the publication before,
    unless somebody has changed them in place.
    """
    if connection.execute("SELECT to_regclass('staging.made_again')").fetchone() == (None,):
        return {}
    noted = connection.execute("SELECT relation, condition FROM staging.made_again").fetchall()
    return {name: as_is(condition) for name, condition in noted}


def _write(
    connection: Connection, name: str, shape: Shape, condition: sql.Composable | None, key: Sequence[str]
) -> tuple[int, int]:
    """Make the rows of a table those that were built; give how many were added and removed."""
    if condition is None and key:
        connection.execute(find_keys_of_differing(name, shape.columns, key))
        written = _write_differing(connection, name, shape, is_differing(key))
        connection.execute("DROP TABLE pg_temp.keys_of_differing")
        return written
    added, removed = _write_differing(connection, name, shape, condition or EVERYWHERE)
    if condition is not None:
        seen, built = connection.execute(count_both(name)).fetchone() or (0, 0)
        if seen != built:  # somebody else has written to gold
            further = _write_differing(connection, name, shape, EVERYWHERE)
            return added + further[0], removed + further[1]
    return added, removed


def _write_differing(
    connection: Connection, name: str, shape: Shape, condition: sql.Composable
) -> tuple[int, int]:
    connection.execute(find_differences(name, shape.columns, condition))
    removed = connection.execute(remove_gone(name)).rowcount
    added = connection.execute(add_new(name, shape.columns)).rowcount
    connection.execute("DROP TABLE pg_temp.differing")
    return added, removed


def _retire(connection: Connection, name: str) -> str | None:
    """Drop a table that the project has no more; if a view stands on it, say that it is kept."""
    try:
        with connection.transaction():
            connection.execute(sql.SQL("DROP TABLE {}").format(in_gold(name)))
    except psycopg.errors.DependentObjectsStillExist as error:
        return f"{GOLD}.{name} is built no more, and kept as it was only since {error.diag.message_detail}"
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(built_aside(name)))
    return None
