"""The log of changes, read so that nothing is missed that a transaction commits late.

Rows carry the id of the transaction that wrote them. Ids are given out in order, but transactions end in any;
so a reader takes only what is below the oldest one that is still running: of those, all have ended. A
transaction that runs for long holds every reader back, and makes none miss anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import psycopg

from sinks.database import Connection

START: Final = 0
"""The cursor that everything comes after."""
REBUILT: Final = "rebuild"
"""The kind by which a rebuild of silver says that any fact may be gone, or be another one than before."""


@dataclass(frozen=True)
class Change:
    """What a transaction touched.

    Args:
        kind: `customer`, `visitor`, `product`, `service`, `identity`, `session`, `late_event` or
            `rebuild` (`REBUILT`).
        key: id of the customer, visitor (also of an identity's or a session's), product or service; the
            outcome of a late event; of a rebuild, what was rebuilt.
        day: of event time, UTC; None where the thing as a whole changed.
    """

    kind: str
    key: str
    day: date | None


@dataclass(frozen=True)
class Changes:
    """What was touched between two cursors, each thing once.

    Args:
        items: in no order.
        next_cursor: where to go on. To be kept in the transaction that does what follows from the items.
    """

    items: Sequence[Change]
    next_cursor: int


class CursorAheadError(Exception):
    """The cursor is of another database, or of this one before it was restored: build everything anew."""


# One statement, so that the bound and the rows are of one snapshot.
_READ: Final = b"""
    SELECT bound.next::text, touched.kind, touched.key, touched.day
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS next) AS bound
    LEFT JOIN LATERAL (
        SELECT DISTINCT kind, key, day FROM ops_changes
        WHERE xid >= %s::text::xid8 AND xid < bound.next
    ) AS touched ON true
"""


def read_changes(connection: psycopg.Connection[Any], cursor: int = START) -> Changes:
    """Read what was touched by transactions from a cursor on, up to the oldest that is still running.

    A change is in exactly one of the intervals that follow each other: none is missed, none comes twice.

    Args:
        connection: with `ops` in its search path.
        cursor: `next_cursor` of the reading before, `START` for the first.

    Raises:
        CursorAheadError: the database has not come so far.
    """
    rows = connection.execute(_READ, (str(cursor),)).fetchall()
    next_cursor = int(rows[0][0])
    if cursor > next_cursor:
        raise CursorAheadError(
            f"changes were read up to transaction {cursor}, but the database is at {next_cursor}: "
            "it was restored, or it is another one; build everything anew"
        )
    return Changes([Change(*row[1:]) for row in rows if row[1] is not None], next_cursor)


def read_closings(
    connection: psycopg.Connection[Any], since: datetime, until: datetime, gap: timedelta
) -> Sequence[Change]:
    """Read which sessions time has closed: an event of `since` could still join them, one of `until` cannot.

    No transaction closes a session, so the log cannot tell. Intervals that follow each other give each
    closing once. A session that is stored when it is long closed is given by `read_changes` alone, as it was
    touched: whoever reads both misses none.

    Args:
        connection: with `silver` in its search path.
        since: `until` of the reading before.
        until: the instant as of which something is built.
        gap: of the sessions (`PIPELINE_SESSION_GAP_SECONDS`).

    Returns:
        changes of the kind `session`, each visitor and day once.
    """
    rows = connection.execute(
        b"""
        SELECT DISTINCT visitor_id, (started_at AT TIME ZONE 'UTC')::date
        FROM silver_sessions WHERE ended_at >= %(since)s::timestamptz AND ended_at < %(until)s::timestamptz
        """,
        {"since": since - gap, "until": until - gap},
    ).fetchall()
    return [Change("session", visitor, day) for visitor, day in rows]


_OLD: Final = b"""
    FROM ops_changes WHERE at < %(before)s AND xid < (
        SELECT max(to_xid) FROM ops_dbt_runs WHERE status = 'success'
    )
"""


def count_changes_before(connection: Connection, before: datetime) -> int:
    """Count the changes that `delete_changes_before` would delete."""
    row = connection.execute(b"SELECT count(*)" + _OLD, {"before": before}).fetchone()
    return int(str(row[0])) if row else 0


def delete_changes_before(connection: Connection, before: datetime) -> int:
    """Delete changes older than an instant that a successful build of gold has taken in; give how many.

    What no build has taken in stays, whatever its age.
    """
    return connection.execute(b"DELETE" + _OLD, {"before": before}).rowcount
