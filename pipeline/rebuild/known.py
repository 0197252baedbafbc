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
    """Give those who have neither a fact nor a record in bronze.

    Facts are looked at first, which is quick. Bronze is only read for who has none: all records of that
    visitor may have been refused.

    Args:
        connection: in a transaction.
        visitors: customers' or anonymous ids.
        advance: told how many more records of bronze were read.
    """
    facts = " UNION ".join(
        f"SELECT visitor_id FROM silver.{table} WHERE visitor_id = ANY(%(visitors)s)"  # noqa: S608  (names of our own)
        for table in VISITOR_FACTS
    )
    found = connection.execute(facts.encode(), {"visitors": list(visitors)}).fetchall()
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
