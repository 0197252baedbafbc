"""Rows copied into staging tables, in COPY's binary format, are what they were."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest

from sinks.database import Database
from sinks.staging import MOST_DELETED_BYTES, Staging, copy_rows

pytestmark = pytest.mark.real

STAGING = Staging(
    "stage_of_all_types",
    {
        "id": "UUID",
        "document": "JSON",
        "items": "JSONB",
        "amount": "NUMERIC(18, 4)",
        "rate": "NUMERIC",
        "at": "TIMESTAMP WITH TIME ZONE",
        "day": "DATE",
        "large": "BIGINT",
        "medium": "INTEGER",
        "small": "SMALLINT",
        "latency": "DOUBLE PRECISION",
        "is_late": "BOOLEAN",
        "text": "TEXT",
        "raw": "BYTEA",
    },
)
ROW = (
    "0d0b0e1a-5f7e-4c58-9d54-1c1f3a4b5c6d",
    '{"b": 1,  "a": "\\u00e9\\\\\\t"}',
    '[{"quantity": 2}]',
    Decimal("-12.3400"),
    Decimal("1.0000000000001"),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    date(1, 1, 1),
    -(2**63),
    2**31 - 1,
    -5,
    0.1,
    True,
    "a tab\t, a \\ and \u00e9",
    b"\x00\xff",
)


def test_every_type_comes_as_it_was(store: Database) -> None:
    def there_and_back(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
        connection.execute(STAGING.create.encode())
        copy_rows(connection, STAGING, [ROW, (None,) * len(ROW)])
        rows = connection.execute(
            b"SELECT id, document::text, items::text, amount, rate, at, day, large, medium, small, latency, "
            b"is_late, text, raw FROM stage_of_all_types"
        ).fetchall()
        connection.execute(b"DROP TABLE stage_of_all_types")
        return rows

    stored, empty = store.transact(there_and_back)
    assert stored == (UUID(ROW[0]), *ROW[1:])  # type: ignore[arg-type]  # a text
    assert empty == (None,) * len(ROW)


def test_a_staging_table_holds_the_last_rows_and_does_not_grow_with_those_before(store: Database) -> None:
    staging = Staging("stage_of_texts", {"text": "TEXT"})
    rows = [(f"{number:0500d}",) for number in range(50)]
    sizes, counts = [], set()

    def write(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        connection.execute(b"CREATE TEMPORARY TABLE IF NOT EXISTS stage_of_texts (text text)")
        copy_rows(connection, staging, rows)
        found = connection.execute(
            b"SELECT count(*), pg_relation_size('stage_of_texts') FROM stage_of_texts"
        ).fetchone()
        assert found is not None
        counts.add(found[0])
        sizes.append(int(str(found[1])))

    for _ in range(40):
        store.transact(write)
    store.transact(lambda connection: connection.execute(b"DROP TABLE stage_of_texts"))
    assert counts == {len(rows)}
    assert max(sizes) <= MOST_DELETED_BYTES + sizes[0]
    assert sizes.count(sizes[0]) > 1  # it was truncated on the way


@pytest.mark.parametrize(
    ("column", "value"), [("id", "no id"), ("id", "0d0b"), ("large", 2**63), ("small", 2**15), ("text", "\0")]
)
def test_a_value_that_its_column_cannot_hold_is_refused_and_not_cut(
    store: Database, column: str, value: object
) -> None:
    row = tuple(value if name == column else None for name in STAGING.types)

    def write(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        connection.execute(STAGING.create.encode())
        copy_rows(connection, STAGING, [row])

    with pytest.raises((psycopg.DataError, OverflowError)):
        store.transact(write)
