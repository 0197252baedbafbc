"""Whether those who are named exist: before any worker is paused for them."""

from collections.abc import Callable, Collection
from typing import Any

import psycopg

from pipeline.visitors import visitor_of
from sinks.rebuild_source import VISITOR_FACTS, bronze_records
from streams.events import STREAMS


def unknown_visitors(
    connection: psycopg.Connection[Any],
    visitors: Collection[str],
    advance: Callable[[int], None] = lambda _: None,
) -> set[str]:
    """Give those who have neither a fact nor a session nor a record in bronze.

    Tables of silver are looked at first, which is quick; a session may be of what was refused since. Bronze
    is only read for who is in none: all records of that visitor may have been refused at once.

    Args:
        connection: in a transaction.
        visitors: customers' or anonymous ids.
        advance: told how many more records of bronze were read.
    """
    in_silver = " UNION ".join(
        f"SELECT visitor_id FROM silver.{table} WHERE visitor_id = ANY(%(visitors)s)"  # noqa: S608  (names of our own)
        for table in (*VISITOR_FACTS, "silver_sessions")
    )
    found = connection.execute(in_silver.encode(), {"visitors": list(visitors)}).fetchall()
    unknown = set(visitors) - {visitor for (visitor,) in found}
    for stream in STREAMS if unknown else ():
        for record in bronze_records(connection, stream):
            advance(1)
            visitor = visitor_of(record.value)
            if visitor in unknown:
                unknown.remove(visitor)
                if not unknown:
                    return unknown
    return unknown
