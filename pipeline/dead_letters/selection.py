"""Which dead letters are meant: filters to SQL. Pure."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import sql

from pipeline.dead_letters.letters import Identity, Letter, canonical_id

OPEN: Final = ("pending", "exhausted")
"""Statuses of letters that somebody has still to do something about."""

UNREADABLE: Final = "(unreadable)"
"""Stands for the type of letters of which none could be read."""
_TYPE: Final = f"coalesce(event_type, '{UNREADABLE}')"

GROUPS: Final = {
    "reason": "reason",
    "type": _TYPE,
    "stream": "stream",
    "day": "((arrived_at AT TIME ZONE 'UTC')::date)::text",
    "stage": "stage",
    "status": "status",
}
"""What letters can be counted by, as SQL."""

KEY: Final = Identity._fields
_COLUMNS: Final = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(Letter))
_KEY: Final = sql.SQL(", ").join(sql.Identifier(name) for name in KEY)


@dataclass(frozen=True)
class Selection:
    """Filters; one that is empty lets all through, and all that are given must hold.

    `since` and `until` are of the arrival (from, up to but without), `failed_since` of the last failure.
    """

    identities: tuple[Identity, ...] = ()
    statuses: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    failed_since: datetime | None = None
    event_id: str | None = None
    limit: int | None = None


class Query(NamedTuple):
    """A statement and its parameters by name."""

    statement: sql.Composed
    parameters: dict[str, Any]


_ONE_OF: Final = {
    "statuses": "status",
    "reasons": "reason",
    "streams": "stream",
    "types": _TYPE,
    "stages": "stage",
}
_BOUNDS: Final = {
    "since": "arrived_at >= %(since)s",
    "until": "arrived_at < %(until)s",
    "failed_since": "failed_at >= %(failed_since)s",
    "event_id": "event_id = ANY(%(event_id)s)",
}


def identity_arrays(identities: tuple[Identity, ...] | list[Identity]) -> dict[str, list[Any]]:
    """Give identities as parameters of `UNNEST_IDENTITIES`: one array a column."""
    return {name: [identity[i] for identity in identities] for i, name in enumerate(KEY)}


UNNEST_IDENTITIES: Final = (
    "unnest(%(stream)s::text[], %(stream_epoch)s::bigint[], %(shard)s::text[], "
    "%(sequence_number)s::text[], %(sub_sequence_number)s::bigint[])"
)


def chosen(selection: Selection) -> Query:
    """Give the selected rows, the oldest first, as the body of a subquery."""
    conditions = [
        f"{column} = ANY(%({name})s)" for name, column in _ONE_OF.items() if getattr(selection, name)
    ]
    conditions += [text for name, text in _BOUNDS.items() if getattr(selection, name) is not None]
    parameters: dict[str, Any] = {name: list(getattr(selection, name)) for name in _ONE_OF}
    parameters |= {name: getattr(selection, name) for name in _BOUNDS}
    if selection.event_id is not None:  # as it came, or as facts spell it
        parameters["event_id"] = [selection.event_id, canonical_id(selection.event_id)]
    if selection.identities:
        conditions.append(f"({', '.join(KEY)}) IN (SELECT * FROM {UNNEST_IDENTITIES})")  # noqa: S608  (names of our own)
        parameters |= identity_arrays(selection.identities)
    limit = ""
    if selection.limit is not None:
        limit = f"ORDER BY arrived_at, {', '.join(KEY)} LIMIT %(limit)s"
        parameters["limit"] = selection.limit
    statement = sql.SQL("SELECT * FROM silver.dead_letters WHERE {conditions} {limit}").format(
        conditions=sql.SQL(" AND ".join(conditions) or "true"),
        limit=sql.SQL(limit),
    )
    return Query(statement, parameters)


def letters_query(selection: Selection) -> Query:
    """Select whole letters, the oldest arrival first."""
    return _around("SELECT {columns} FROM ({chosen}) AS chosen ORDER BY arrived_at, {key}", selection)


def identities_query(selection: Selection) -> Query:
    """Select the identities only, the oldest arrival first."""
    return _around("SELECT {key} FROM ({chosen}) AS chosen ORDER BY arrived_at, {key}", selection)


def count_query(selection: Selection) -> Query:
    """Count the letters."""
    return _around("SELECT count(*) FROM ({chosen}) AS chosen", selection)


def groups_query(selection: Selection, by: str) -> Query:
    """Count by one of `GROUPS`, the largest group first, with the letter of each that failed last."""
    return _around(
        """
        WITH chosen AS MATERIALIZED (
            SELECT {key}, status, arrived_at, failed_at, errors, {in_group} AS in_group
            FROM ({chosen}) AS letters
        ),

        counted AS (
            SELECT
                in_group,
                count(*) AS letters,
                count(*) FILTER (WHERE status = 'pending') AS pending,
                count(*) FILTER (WHERE status = 'exhausted') AS exhausted,
                min(arrived_at) AS first_arrived_at,
                max(arrived_at) AS last_arrived_at
            FROM chosen
            GROUP BY in_group
        ),

        examples AS (
            SELECT DISTINCT ON (in_group) in_group, {key}, errors
            FROM chosen
            ORDER BY in_group, failed_at DESC, {key}
        )

        SELECT counted.*, {key}, errors
        FROM counted JOIN examples USING (in_group)
        ORDER BY letters DESC, in_group
        """,
        selection,
        in_group=sql.SQL(GROUPS[by]),
    )


def _around(text: str, selection: Selection, **parts: sql.Composable) -> Query:
    inner = chosen(selection)
    statement = sql.SQL(text).format(columns=_COLUMNS, key=_KEY, chosen=inner.statement, **parts)
    return Query(statement, inner.parameters)
