"""Checks of quality are kept with their history, and with the rows that fail."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from conftest import Built, changed_by_hand, odd_level
from psycopg.rows import dict_row

from pipeline.commands.quality import quality
from pipeline.errors import TRY_AGAIN, UserError
from pipeline.gold.build import LOCK_KEY, build_gold, check_quality
from pipeline.gold.checks import MOST_FAILING_ROWS, Check, record, with_failing_rows
from pipeline.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]
LEVELS = "accepted_values_stg_system_logs_level__debug__info__warning__error__critical"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def history(settings: Settings, name: str) -> list[dict[str, Any]]:
    with psycopg.connect(settings.postgres_url.get_secret_value(), row_factory=dict_row) as connection:
        return connection.execute(
            "SELECT * FROM ops.ops_quality_checks WHERE name = %s ORDER BY id", (name,)
        ).fetchall()


def test_each_test_of_a_build_is_kept_with_what_it_is_about(built: Built) -> None:
    rows = built.rows("SELECT DISTINCT ON (name) * FROM ops.ops_quality_checks ORDER BY name, id DESC")
    tests = {node["name"] for node in built.run.results if node["kind"] == "test"}
    assert {row["name"] for row in rows} >= tests
    assert {row["dimension"] for row in rows} >= {
        "accuracy",
        "completeness",
        "consistency",
        "uniqueness",
        "validity",
        "volume",
    }
    of = {row["name"]: row for row in rows}
    unique = of["unique_gold_customer_analytics_customer_id"]
    assert (unique["dimension"], unique["table_name"]) == ("uniqueness", "gold_customer_analytics")
    assert (unique["passed"], unique["rows_failing"], unique["threshold"]) == (True, 0, "!= 0")


def test_an_outcome_that_comes_again_is_noted_and_another_one_is_a_row_of_its_own(empty: Settings) -> None:
    build_gold(empty)
    before = history(empty, LEVELS)
    with odd_level(empty):
        for _ in range(2):
            assert build_gold(empty).status == "failed"
    failed = history(empty, LEVELS)[len(before) :]
    assert [(row["passed"], row["rows_failing"], row["times"]) for row in failed] == [(False, 1, 2)]
    assert failed[0]["last_at"] > failed[0]["first_at"]
    assert failed[0]["failing_rows"] == [{"n_records": 1, "value_field": "odd"}]
    build_gold(empty)
    assert [row["passed"] for row in history(empty, LEVELS)[len(before) :]] == [False, True]


def test_the_command_shows_what_does_not_hold_and_fails_on_errors_only(
    empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.quality.load_settings", lambda: empty)
    build_gold(empty)
    with odd_level(empty):
        build_gold(empty)
        done = CliRunner().invoke(quality, [])
        assert isinstance(done.exception, UserError)
        assert str(done.exception).startswith("1 of "), done.output
        assert LEVELS[:40] in done.output.replace("\n", "")
        assert '"value_field": "odd"' in done.output
    build_gold(empty)
    done = CliRunner().invoke(quality, ["--json"])
    assert done.exit_code == 0, done.output
    checks = json.loads(done.output)
    assert all(check["passed"] for check in checks if check["severity"] == "error")
    fresh = [check for check in checks if check["dimension"] == "timeliness"]
    assert {check["table"] for check in fresh} >= {"silver_transactions", "silver_sessions"}


def test_nothing_is_checked_while_gold_is_built_or_before_it_was(empty: Settings) -> None:
    with psycopg.connect(empty.postgres_url.get_secret_value(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(UserError, match="gold is being built") as caught:
            check_quality(empty)
        assert caught.value.exit_code == TRY_AGAIN
    with psycopg.connect(empty.postgres_url.get_secret_value(), autocommit=True) as other:
        other.execute("ALTER TABLE IF EXISTS gold_next.gold_business_metrics RENAME TO away")
        with pytest.raises(UserError, match="gold is not built yet: run `pipeline gold`"):
            check_quality(empty)
        other.execute("ALTER TABLE IF EXISTS gold_next.away RENAME TO gold_business_metrics")


def test_what_a_crash_of_postgres_has_emptied_is_not_checked(empty: Settings) -> None:
    build_gold(empty)
    with psycopg.connect(empty.postgres_url.get_secret_value(), autocommit=True) as other:
        other.execute("TRUNCATE staging.snapshot_run")  # unlogged, as what is built aside
    with pytest.raises(UserError, match="Postgres has crashed since gold was built: run `pipeline gold`"):
        check_quality(empty)


def test_failing_rows_are_kept_up_to_a_bound_and_a_query_that_fails_gives_none(empty: Settings) -> None:
    check = Check(
        name="many", dimension="accuracy", table=None, severity="warn", passed=False, value=500,
        threshold="!= 0", rows_failing=500, query="select n from generate_series(1, 500) as n",
    )  # fmt: skip
    broken = Check(
        name="broken", dimension="accuracy", table=None, severity="error", passed=False, value=1,
        threshold="!= 0", query="select from nowhere",
    )  # fmt: skip
    with psycopg.connect(empty.postgres_url.get_secret_value()) as connection:
        many, none = with_failing_rows(connection, [check, broken])
        assert (len(many.failing_rows), many.failing_rows[0]) == (MOST_FAILING_ROWS, {"n": 1})
        assert none.failing_rows == ()
        for minutes in range(3):
            record(connection, None, [many, none], NOON + timedelta(minutes=minutes))
    for name in ("many", "broken"):
        [row] = history(empty, name)
        assert (row["first_at"], row["last_at"], row["times"]) == (NOON, NOON + timedelta(minutes=2), 3)


SHIFTS = (
    "hourly_count_anomaly_stg_transactions_occurred_at",
    "amounts_shift_stg_transactions",
    "hourly_count_anomaly_stg_sessions_started_at",
    "channels_shift_stg_sessions",
)


def write_weeks(settings: Settings, *, last_hour: int, last_day_times: int, last_day_channel: str) -> None:
    """Write twenty purchases and visits an hour for 16 days, with another last hour and last day."""
    with psycopg.connect(settings.postgres_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("TRUNCATE silver.silver_transactions, silver.silver_sessions")
        hours = """
            generate_series(0, 16 * 24 - 1) AS hours (ago),
            generate_series(1, CASE hours.ago WHEN 0 THEN %(last_hour)s ELSE 20 END) AS number
        """
        instant = "%(noon)s - (hours.ago + 1) * interval '1 hour' + number * interval '1 minute'"
        given = {
            "noon": NOON,
            "last_hour": last_hour,
            "times": last_day_times,
            "channel": last_day_channel,
        }
        connection.execute(
            f"""
            INSERT INTO silver.silver_transactions (event_id, content_hash, occurred_at, arrived_at, stream,
                stream_epoch, shard, sequence_number, sub_sequence_number, transaction_type, order_id,
                customer_id, amount, amount_base, currency)
            SELECT gen_random_uuid(), 0, {instant}, {instant}, 'transaction-events', 0, '', '', 0, 'purchase',
                hours.ago || '-' || number, 'c' || number, 20 + number,
                (20 + number) * CASE WHEN hours.ago < 24 THEN %(times)s ELSE 1 END, 'USD'
            FROM {hours}
            """.encode(),
            given,
        )
        connection.execute(
            f"""
            INSERT INTO silver.silver_sessions (session_id, visitor_id, started_at, ended_at, channel)
            SELECT hours.ago || '-' || number, 'v' || number, {instant}, {instant},
                CASE WHEN hours.ago < 24 THEN %(channel)s WHEN number %% 2 = 0 THEN 'email' ELSE 'direct' END
            FROM {hours}
            """.encode(),
            given,
        )
        changed_by_hand(connection)


def test_counts_and_distributions_warn_where_they_leave_what_was_usual(empty: Settings) -> None:
    try:
        write_weeks(empty, last_hour=2, last_day_times=20, last_day_channel="email")
        assert build_gold(empty, as_of=NOON).status == "success"  # they only warn
        last = {name: history(empty, name)[-1] for name in SHIFTS}
        assert {name: row["passed"] for name, row in last.items()} == dict.fromkeys(SHIFTS, False)
        assert last[SHIFTS[0]]["failing_rows"] == [{"found": 2, "mean": 20}]
        assert {row["dimension"] for row in last.values()} == {"volume", "distribution"}
        write_weeks(empty, last_hour=22, last_day_times=1, last_day_channel="email")
        build_gold(empty, as_of=NOON)
        last = {name: history(empty, name)[-1] for name in SHIFTS}
        assert [row["passed"] for row in last.values()] == [True, True, True, False]
    finally:
        with psycopg.connect(empty.postgres_url.get_secret_value(), autocommit=True) as connection:
            connection.execute("TRUNCATE silver.silver_transactions, silver.silver_sessions")
            changed_by_hand(connection)
