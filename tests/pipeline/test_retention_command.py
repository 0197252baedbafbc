"""`pipeline retention` says what goes, and it goes."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from click.testing import CliRunner

from pipeline.commands.retention import retention
from pipeline.errors import UserError
from sinks.database import Database
from sinks.migrate import upgrade
from sinks.writers.bronze import ensure_days

pytestmark = pytest.mark.real

TODAY = datetime.now(UTC).date()
TABLE = "bronze_system_logs"


@pytest.fixture
def filled(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Four days of bronze, and a change and a sample of each of 40 and 10 days ago, taken in by gold."""
    upgrade(database)
    sinks = Database(database)
    days = [TODAY - timedelta(days=n) for n in range(4)]
    sinks.transact(lambda connection: ensure_days(connection, table=TABLE, days=days))
    sinks.close()
    monkeypatch.setenv("PIPELINE_POSTGRES_URL", database)
    with psycopg.connect(database, autocommit=True) as connection:
        for days_ago in (40, 10):
            at = datetime.now(UTC) - timedelta(days=days_ago)
            connection.execute(
                "INSERT INTO ops.ops_changes (kind, key, at) VALUES ('customer', 'c', %s)", (at,)
            )
            connection.execute(
                "INSERT INTO ops.ops_hops (at, hop, stream, age_seconds) VALUES (%s, 'clean', 's', 1)", (at,)
            )
        connection.execute(
            "INSERT INTO ops.ops_dbt_runs (run_id, started_at, status, to_xid) "
            "VALUES ('r', now(), 'success', pg_snapshot_xmax(pg_current_snapshot()))"
        )
        yield connection


def run(*arguments: str) -> list[str]:
    done = CliRunner(env=dict(os.environ)).invoke(retention, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output.splitlines()


def left(connection: psycopg.Connection[tuple[object, ...]]) -> tuple[object, ...] | None:
    return connection.execute(
        f"""
        SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent = 'bronze.{TABLE}'::regclass),
            (SELECT count(*) FROM ops.ops_changes), (SELECT count(*) FROM ops.ops_hops)
        """.encode()
    ).fetchone()


def test_bronze_is_kept_for_ever_unless_told_otherwise(
    filled: psycopg.Connection[tuple[object, ...]],
) -> None:
    said = run()
    assert "kept for ever" in said[0]
    assert said[1].startswith("ops_changes: 1 rows before ")
    assert said[2].startswith("ops_hops: 1 rows before ")
    assert left(filled) == (4, 1, 1)


def test_a_dry_run_says_the_same_and_takes_nothing(filled: psycopg.Connection[tuple[object, ...]]) -> None:
    days = ("--bronze-days", "2", "--changes-days", "5", "--hops-days", "5")
    would = run(*days, "--dry-run")
    assert left(filled) == (4, 2, 2)
    did = run(*days)
    assert left(filled) == (2, 0, 0)
    assert [line.replace("would drop", "dropped").rpartition(" before ")[0] for line in would] == [
        line.rpartition(" before ")[0] for line in did
    ]
    assert did[0].startswith(f"dropped {TABLE}_{TODAY - timedelta(days=3):%Y%m%d} ")
    assert did[2].startswith(f"bronze: 2 partitions before {TODAY - timedelta(days=1)}, ")


def test_a_setting_says_how_long_bronze_is_kept(
    filled: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_RETENTION_BRONZE_DAYS", "1")
    run()
    assert left(filled) == (1, 1, 1)


def test_a_long_query_on_bronze_is_told_in_one_line(
    filled: psycopg.Connection[tuple[object, ...]], database: str
) -> None:
    with psycopg.connect(database) as other:
        other.execute(f"SELECT count(*) FROM bronze.{TABLE}".encode())
        with pytest.raises(UserError, match="read by a long query: try again later"):
            run("--bronze-days", "3")
    assert left(filled) == (4, 2, 2)


def test_a_database_without_tables_is_told_in_one_line(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_POSTGRES_URL", database)
    with pytest.raises(UserError, match="pipeline migrate"):
        run()
