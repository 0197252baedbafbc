"""Quality checks: what dbt's tests and the freshness of its sources say, kept with their history.

The tests are dbt's, beside the models they look at. Each build of gold runs them, and `pipeline quality` runs
them on what is there now.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import psycopg

MOST_FAILING_ROWS: Final = 100
"""Of a check, that are kept."""
DIMENSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unique": "uniqueness",
        "unique_grain": "uniqueness",
        "not_null": "completeness",
        "never_null": "completeness",
        "relationships": "consistency",
        "accepted_values": "validity",
        "in_bounds": "validity",
        "row_count_anomaly": "volume",
        "hourly_count_anomaly": "volume",
        "distribution_shift": "distribution",
    }
)
"""By kind of generic test, what it is about."""
OF_OTHERS: Final = "accuracy"
"""What tests of their own are about: sums that must be the same."""
FRESHNESS: Final = "timeliness"


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a check has found.

    Args:
        name: of the test; of a source's freshness, `freshness_` and the table.
        dimension: of quality.
        table: it looks at; None if several.
        severity: `error` or `warn`.
        passed: whether it holds.
        value: rows that fail; of freshness, the age of the newest row in seconds.
        threshold: from which value on it does not hold.
        rows_failing: None where it is not about rows.
        message: of dbt, if it could not be carried out.
        query: that gives the failing rows, if there are any.
    """

    name: str
    dimension: str
    table: str | None
    severity: str
    passed: bool
    value: float | None
    threshold: str
    rows_failing: int | None = None
    message: str = ""
    query: str = ""
    failing_rows: tuple[Mapping[str, Any], ...] = ()

    @property
    def fails(self) -> bool:
        """Whether it is a failure, not only a warning."""
        return not self.passed and self.severity == "error"


def check_of_test(result: Any) -> Check:
    """Give the check of a result of dbt for a data test."""
    node, status = result.node, str(result.status)
    kind = getattr(getattr(node, "test_metadata", None), "name", None)
    severity = str(node.config.severity).lower()
    attached = getattr(node, "attached_node", None)
    failing = result.failures
    return Check(
        name=node.name,
        dimension=DIMENSIONS.get(kind or "", OF_OTHERS),
        table=attached.rpartition(".")[2] if attached else None,
        severity="error" if status == "error" else severity,
        passed=status == "pass",
        value=failing,
        threshold=str(node.config.error_if if severity == "error" else node.config.warn_if),
        rows_failing=failing,
        message=" ".join((result.message or "").split()) if status == "error" else "",
        query=(node.compiled_code or "") if failing else "",
    )


def check_of_source(result: Any) -> Check:
    """Give the check of a result of dbt for the freshness of a source."""
    node, status = result.node, str(result.status)
    limit = node.freshness.warn_after
    return Check(
        name=f"freshness_{node.name}",
        dimension=FRESHNESS,
        table=node.name,
        severity="error" if status in ("error", "runtime error") else "warn",
        passed=status == "pass",
        value=getattr(result, "age", None),
        threshold=f"> {limit.count} {limit.period}" if limit else "",
        message=" ".join((getattr(result, "message", None) or "").split()),
    )


def with_failing_rows(connection: psycopg.Connection[Any], checks: Iterable[Check]) -> list[Check]:
    """Give checks with the rows that fail, as many as are kept; a query that fails now gives none."""
    return [_with_rows(connection, check) if check.query else check for check in checks]


def _with_rows(connection: psycopg.Connection[Any], check: Check) -> Check:
    query = f"SELECT to_jsonb(failing) FROM ({check.query}) AS failing LIMIT {MOST_FAILING_ROWS}"  # noqa: S608  (the project's own)
    try:
        with connection.transaction():
            rows = connection.execute(query.encode()).fetchall()
    except psycopg.Error:
        return check
    return replace(check, failing_rows=tuple(row for (row,) in rows))


def record(
    connection: psycopg.Connection[Any], run_id: str | None, checks: Sequence[Check], at: datetime
) -> None:
    """Keep what was found: an outcome that is the same as a check's last one is noted on that one's row.

    Outcomes are the same if both hold, or as many rows fail in both.

    Args:
        connection: to write by.
        run_id: of the build that the checks belong to; None for those that were asked for.
        checks: each name once.
        at: when.
    """
    if not checks:
        return
    found = [
        {
            "name": check.name,
            "dimension": check.dimension,
            "table_name": check.table,
            "severity": check.severity,
            "passed": check.passed,
            "value": check.value,
            "threshold": check.threshold,
            "rows_failing": check.rows_failing,
            "failing_rows": list(check.failing_rows) or None,
            "message": check.message or None,
        }
        for check in checks
    ]
    connection.execute(RECORD, {"found": json.dumps(found, default=str), "at": at, "run_id": run_id})


RECORD: Final = """
WITH found AS (
    SELECT * FROM jsonb_to_recordset(%(found)s::jsonb) AS found (
        name text, dimension text, table_name text, severity text, passed boolean, value double precision,
        threshold text, rows_failing bigint, failing_rows jsonb, message text
    )
),

same AS (
    SELECT found.*, last.id
    FROM found
    CROSS JOIN LATERAL (
        SELECT * FROM ops.ops_quality_checks AS kept
        WHERE kept.name = found.name ORDER BY kept.id DESC LIMIT 1
    ) AS last
    WHERE (last.passed, last.severity) = (found.passed, found.severity)
        AND last.rows_failing IS NOT DISTINCT FROM found.rows_failing
        AND last.message IS NOT DISTINCT FROM found.message
),

again AS (
    UPDATE ops.ops_quality_checks AS kept
    SET last_at = %(at)s, times = kept.times + 1, run_id = %(run_id)s, value = same.value,
        threshold = same.threshold, failing_rows = same.failing_rows
    FROM same
    WHERE kept.id = same.id
)

INSERT INTO ops.ops_quality_checks (
    name, dimension, table_name, severity, passed, value, threshold, rows_failing, failing_rows, message,
    first_at, last_at, run_id
)
SELECT
    name, dimension, table_name, severity, passed, value, threshold, rows_failing, failing_rows, message,
    %(at)s, %(at)s, %(run_id)s
FROM found
WHERE name NOT IN (SELECT name FROM same)
ORDER BY name
"""
