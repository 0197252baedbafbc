"""Expected tables against stored ones: what is compared with what, and what is left out."""

from datetime import datetime, timedelta
from typing import Final, get_args

from psycopg import sql

from pipeline.dead_letters.selection import KEY
from pipeline.differences import Connection, Sides, TableComparison, count_rows, judge
from pipeline.expected import COLUMNS, expected
from sinks.schema import BRONZE
from streams.events import CATALOGUE, Stream, event_type_of
from streams.silver import LateOutcome

LATE_EVENTS: Final = "silver_late_events"
LETTERS: Final = "dead_letters"
FACTS: Final = (
    "silver_transactions",
    "silver_product_events",
    "silver_customer_events",
    "silver_system_logs",
)
KEYS: Final = {
    **dict.fromkeys(FACTS, ("event_id",)),
    "silver_customers": ("customer_id",),
    "silver_products": ("product_id",),
    "silver_sessions": ("session_id",),
    "silver_identities": ("anonymous_id", "customer_id", "seen_at"),
}
TOUCHED_BY: Final = {
    "silver_customers": "customer_id",
    "silver_products": "product_id",
    "silver_sessions": "visitor_id",
    "silver_identities": "customer_id",
}
"""By table of entities: what of a row tells whether somebody else's event touches it."""
_TRANSPORT: Final = sql.SQL(", ").join(map(sql.Identifier, KEY))


def compare_tables(
    connection: Connection,
    gap: timedelta,
    *,
    others_until: datetime | None = None,
    schema: str = "silver",
) -> tuple[TableComparison, ...]:
    """Compare every table of silver; the connection's temporary tables are filled (`fill_expected`).

    Args:
        connection: in a transaction of one snapshot.
        gap: of sessions; an event is late by more than that.
        others_until: what arrived before it and is in no ledger is somebody else's, and what that touches is
            not compared; None: there is nobody else, each such row is one too many. Neither is what became of
            dead letters that an operator has replayed or discarded, nor what that touches.
        schema: where the stored tables are.
    """
    _find_repaired(connection, schema)
    _find_others(connection, schema, others_until)
    found = [_compare(connection, schema, table) for table in KEYS]
    found.append(_compare_letters(connection, schema, others_until))
    found.append(_compare_late_events(connection, schema, gap))
    connection.execute("DROP TABLE others, repaired")
    return tuple(found)


def _find_repaired(connection: Connection, schema: str) -> None:
    """Collect the dead letters that an operator has replayed or discarded: of these no ledger knows.

    `attempt` is above 0 only of what was replayed.
    """
    connection.execute(
        sql.SQL(
            """
            CREATE TEMPORARY TABLE repaired ON COMMIT DROP AS
            SELECT {key}, md5(coalesce(payload, '')) AS digest, partition_key
            FROM {letters} WHERE status IN ('replayed', 'discarded') OR attempt > 0
            """
        ).format(key=_TRANSPORT, letters=sql.Identifier(schema, LETTERS))
    )
    connection.execute("ANALYZE repaired")


def _find_others(connection: Connection, schema: str, until: datetime | None) -> None:
    """Collect facts that are not ours, or were repaired by an operator, and the keys that they touch."""
    nothing = sql.SQL("NULL::text")
    has = {table: set(COLUMNS[table]) for table in FACTS}
    selects = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            """
            SELECT event_id, {customer} AS customer_id, {visitor} AS visitor_id, {product} AS product_id
            FROM {stored} AS stored
            WHERE (arrived_at < {until} OR ({key}) IN (SELECT {key} FROM repaired))
                AND NOT EXISTS (SELECT FROM {expected} AS ours WHERE ours.event_id = stored.event_id)
            """
        ).format(
            customer=sql.Identifier("customer_id") if "customer_id" in has[table] else nothing,
            visitor=sql.Identifier("visitor_id") if "visitor_id" in has[table] else nothing,
            product=_catalogue_product() if "product_id" in has[table] else nothing,
            stored=sql.Identifier(schema, table),
            until=sql.Literal(until),
            key=_TRANSPORT,
            expected=expected(table),
        )
        for table in FACTS
    )
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE others ON COMMIT DROP AS {}").format(selects))
    connection.execute(
        sql.SQL(
            """
            INSERT INTO others (customer_id)
            SELECT DISTINCT links.customer_id FROM (
                SELECT anonymous_id, customer_id FROM {stored}
                UNION SELECT anonymous_id, customer_id FROM {expected}
            ) AS links
            JOIN others ON others.visitor_id = links.anonymous_id
            """
        ).format(stored=sql.Identifier(schema, "silver_identities"), expected=expected("silver_identities"))
    )
    connection.execute("ANALYZE others")


def _catalogue_product() -> sql.Composed:
    types = [event_type_of(kind) for kind in CATALOGUE]
    return sql.SQL("CASE WHEN event_type = ANY({}) THEN product_id END").format(sql.Literal(types))


def _compare(connection: Connection, schema: str, table: str) -> TableComparison:
    key, columns = KEYS[table], COLUMNS[table]
    of_others = sql.SQL("EXISTS (SELECT FROM others WHERE others.{0} = row.{0})").format(
        sql.Identifier(TOUCHED_BY.get(table, "event_id"))
    )
    names = sql.SQL(", ").join(map(_as_compared, columns))
    stored = sql.SQL("SELECT {} FROM {} AS row WHERE NOT {}").format(
        names, sql.Identifier(schema, table), of_others
    )
    ours = sql.SQL("SELECT {} FROM {} AS row WHERE NOT {}").format(names, expected(table), of_others)
    left_out = count_rows(
        connection, sql.SQL("SELECT FROM {} AS row WHERE {}").format(sql.Identifier(schema, table), of_others)
    )
    shown = sql.SQL("concat_ws(' ', {})").format(
        sql.SQL(", ").join(
            sql.SQL("coalesce(ours.{0}::text, stored.{0}::text)").format(sql.Identifier(name)) for name in key
        )
    )
    compared = [name for name in columns if name not in key]
    more = _one_content_twice(schema, table) if table in FACTS else None
    return judge(connection, Sides(table, ours, stored, key, compared, shown), left_out, more)


def _as_compared(column: str) -> sql.Composable:
    """Give the expression that is compared: a price within a document is a number, however it is spelt."""
    if column != "items":
        return sql.Identifier(column)
    return sql.SQL(
        """
        CASE WHEN jsonb_typeof(items) <> 'array' THEN items ELSE (
            SELECT jsonb_agg(
                item || jsonb_build_object('unit_price', (item ->> 'unit_price')::numeric) ORDER BY number
            )
            FROM jsonb_array_elements(items) WITH ORDINALITY AS line (item, number)
        ) END AS items
        """
    )


def _one_content_twice(schema: str, table: str) -> sql.Composed:
    """Give the query of facts whose content, the id included, is that of another row."""
    return sql.SQL(
        """
        SELECT 'differs', max(event_id::text), ARRAY[jsonb_build_array(
            'content_hash', 'one row for one content', 'the content of ' || min(event_id::text)
        )]
        FROM {} GROUP BY content_hash HAVING count(*) > 1
        """
    ).format(sql.Identifier(schema, table))


def _compare_letters(connection: Connection, schema: str, until: datetime | None) -> TableComparison:
    """Compare dead letters: as many of each payload as were sent, in the order of their reasons.

    A request to Kinesis whose answer is lost is sent again: there may be more letters of a payload than lines
    of the ledger, as long as each stands for a record that bronze has. Those that an operator has replayed or
    discarded have to be there, and no more.
    """
    columns = [name for name in COLUMNS[LETTERS] if name not in {"stream", "payload"}]
    selected = sql.SQL("SELECT stream, digest, number, payload, {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    # Without as many lines of each record as letters of it were repaired.
    connection.execute(
        sql.SQL(
            """
            CREATE TEMPORARY TABLE unrepaired ON COMMIT DROP AS
            SELECT letter.*, row_number() OVER (PARTITION BY stream, digest ORDER BY reason, partition_key)
                AS number
            FROM (
                SELECT *, md5(coalesce(payload, '')) AS digest, row_number() OVER (
                    PARTITION BY stream, md5(coalesce(payload, '')), partition_key ORDER BY reason
                ) AS line
                FROM {expected}
            ) AS letter
            LEFT JOIN (
                SELECT stream, digest, partition_key, count(*) AS letters FROM repaired GROUP BY 1, 2, 3
            ) AS repaired USING (stream, digest, partition_key)
            WHERE line > coalesce(repaired.letters, 0)
            """
        ).format(expected=expected(LETTERS))
    )
    stored = sql.SQL(
        """
        {selected} FROM (
            SELECT letter.*, digest, is_repaired,
                CASE WHEN is_repaired THEN -1 ELSE 1 END * row_number() OVER (
                    PARTITION BY stream, digest, is_repaired ORDER BY reason, partition_key
                ) AS number
            FROM {letters} AS letter, LATERAL (
                SELECT md5(coalesce(payload, '')) AS digest,
                    ({key}) IN (SELECT {of_repaired} FROM repaired) AS is_repaired
            ) AS known
        ) AS letter
        LEFT JOIN (SELECT stream, md5(coalesce(payload, '')) AS digest, count(*) AS records
            FROM {expected} GROUP BY 1, 2) AS sent USING (stream, digest)
        LEFT JOIN (SELECT stream, digest, count(*) AS records FROM unrepaired GROUP BY 1, 2)
            AS unrepaired USING (stream, digest)
        WHERE CASE
            WHEN sent.records IS NULL THEN coalesce(letter.arrived_at >= {until}, true)
            WHEN is_repaired THEN -letter.number > sent.records AND NOT ({in_bronze})
            ELSE letter.number <= coalesce(unrepaired.records, 0) OR NOT ({in_bronze})
        END
        """
    ).format(
        selected=selected,
        letters=sql.Identifier(schema, LETTERS),
        key=sql.SQL(", ").join(sql.Identifier("letter", name) for name in KEY),
        of_repaired=_TRANSPORT,
        expected=expected(LETTERS),
        until=sql.Literal(until),
        in_bronze=sql.SQL(" OR ").join(_in_bronze(stream) for stream in BRONZE),
    )
    ours = sql.SQL("{} FROM unrepaired").format(selected)
    all_stored = sql.SQL("SELECT FROM {}").format(sql.Identifier(schema, LETTERS))
    shown = sql.SQL(
        "concat_ws(' ', coalesce(ours.stream, stored.stream), "
        "left(encode(coalesce(ours.payload, stored.payload), 'escape'), 80))"
    )
    left_out = count_rows(connection, all_stored) - count_rows(connection, stored)
    both = Sides(LETTERS, ours, stored, ("stream", "digest", "number"), columns, shown)
    found = judge(connection, both, left_out)
    connection.execute("DROP TABLE unrepaired")
    return found


def _in_bronze(stream: Stream) -> sql.Composed:
    return sql.SQL(
        """
        letter.stream = {stream} AND EXISTS (
            SELECT FROM {bronze} AS bronze
            WHERE bronze.arrived_at = letter.arrived_at
                AND bronze.stream_epoch = letter.stream_epoch
                AND bronze.shard = letter.shard
                AND bronze.sequence_number = letter.sequence_number
                AND bronze.sub_sequence_number = letter.sub_sequence_number
        )
        """
    ).format(stream=sql.Literal(stream), bronze=sql.Identifier("bronze", BRONZE[stream].name))


def _compare_late_events(connection: Connection, schema: str, gap: timedelta) -> TableComparison:
    """Compare the list of late events with the facts that say they were late.

    Which events are late depends on the order of their arrival, which no ledger knows. Only events of
    visitors are listed: the list says what became of sessions. What is older than sessions reach is listed
    also where its source's watermark does not call it late.
    """
    stored = sql.Identifier(schema, LATE_EVENTS)
    flagged = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            """
            SELECT event_id, occurred_at FROM {} AS fact
            WHERE visitor_id IS NOT NULL AND (is_late OR EXISTS (
                SELECT FROM {} AS late
                WHERE late.event_id = fact.event_id AND late.outcome = 'beyond_retention'
            ))
            """
        ).format(sql.Identifier(schema, table), stored)
        for table in FACTS
        if "visitor_id" in COLUMNS[table]
    )
    listed = sql.SQL("SELECT event_id, occurred_at FROM {}").format(stored)
    impossible = sql.SQL(
        """
        SELECT 'differs', event_id::text, array_remove(ARRAY[
            CASE WHEN outcome <> ALL({outcomes})
                THEN jsonb_build_array('outcome', 'one of the closed list', outcome) END,
            CASE WHEN lateness_seconds <= {gap}
                THEN jsonb_build_array('lateness_seconds', 'above the gap', lateness_seconds) END
        ], NULL)
        FROM {stored} WHERE outcome <> ALL({outcomes}) OR lateness_seconds <= {gap}
        """
    ).format(
        outcomes=sql.Literal(list(get_args(LateOutcome))),
        gap=sql.Literal(gap.total_seconds()),
        stored=stored,
    )
    shown = sql.SQL("coalesce(ours.event_id, stored.event_id)::text")
    both = Sides(LATE_EVENTS, flagged, listed, ("event_id",), ("occurred_at",), shown)
    return judge(connection, both, 0, impossible)
