"""How builds run: recorded, one at a time, the same each time, and stopped cleanly."""

import json
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Built, gold_command, odd_level

from pipeline.errors import CONFIGURATION, UserError
from pipeline.gold import build
from pipeline.gold.build import LOCK_KEY, PROJECT, build_gold, parse_as_of
from pipeline.gold.dbt_runner import Outcome, dbt_environment
from pipeline.local.ports import free_port
from pipeline.settings import Settings

GOLD = Path(PROJECT / "models" / "gold")
pytestmark = [
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]
real = pytest.mark.real


def contents(built: Built) -> dict[str, list[Any]]:
    tables = [path.stem for path in GOLD.glob("*.sql")]
    assert len(tables) >= 7
    return {
        name: sorted(json.dumps(row, default=str) for row in built.rows(f"SELECT * FROM gold.{name}"))
        for name in tables
    }


@real
def test_building_again_changes_nothing(built: Built) -> None:
    before = contents(built)
    assert all(before.values())
    progress: list[tuple[int, int]] = []
    run = built.build(on_progress=lambda done, total: progress.append((done, total)))
    assert run.ok
    assert (run.anew, built.run.anew) == ("", "nothing is built yet")
    assert "everything made anew: nothing is built yet" in built.run.summary()
    assert contents(built) == before
    assert (run.rows_added, run.rows_removed, run.gold_as_of) == (0, 0, run.as_of)
    # what is done is told one by one, up to all there is
    assert [done for done, _ in progress] == list(range(1, len(progress) + 1))
    assert progress[-1][0] == len(progress) >= len([n for n in run.results if n["kind"] != "operation"])


@real
def test_a_full_refresh_gives_the_same(built: Built) -> None:
    before = contents(built)
    run = built.build(full_refresh=True)
    assert (run.status, run.anew) == ("success", "asked for")
    assert contents(built) == before


@real
def test_all_that_the_project_has_is_built_and_tested_once(built: Built, tmp_path: Path) -> None:
    from dbt.cli.main import dbtRunner  # noqa: PLC0415  (takes two seconds)

    listed = dbtRunner().invoke(
        [
            *("ls", "--output", "json", "--output-keys", "name", "--exclude-resource-type", "unit_test"),
            *("--project-dir", str(built.project), "--profiles-dir", str(built.project)),
            *("--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")),
            *("--exclude-resource-types", "source", "exposure", "--quiet"),
        ]
    )
    done = sorted(node["name"] for node in built.run.results if node["kind"] != "operation")
    assert done == sorted(json.loads(line)["name"] for line in listed.result)


@real
def test_each_run_is_recorded(built: Built) -> None:
    run = built.run
    [row] = built.rows(f"SELECT * FROM ops.ops_dbt_runs WHERE run_id = '{run.run_id}'")
    assert (row["status"], row["as_of"], row["failures"]) == ("success", run.as_of, 0)
    assert row["models"] == run.models_ok == len([n for n in row["results"] if n["kind"] != "test"])
    assert row["tests"] == run.tests_passed + run.tests_warned > 100
    assert row["finished_at"] >= row["started_at"]
    assert row["to_xid"] is not None
    assert row["started_at"] <= row["copied_at"] <= row["published_at"] <= row["finished_at"]
    assert row["rows_added"] == run.rows_added > 1000


@real
def test_worked_examples_of_the_definitions(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbt.cli.main import dbtRunner  # noqa: PLC0415  (takes two seconds)

    # what was built last in this process may be another database, that is gone
    for name, value in dbt_environment(built.settings.postgres_url.get_secret_value()).items():
        monkeypatch.setenv(name, value)
    result = dbtRunner().invoke(
        [
            *("test", "--select", "test_type:unit", "--log-level", "none"),
            *("--project-dir", str(built.project), "--profiles-dir", str(built.project)),
            *("--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")),
        ]
    )
    assert result.exception is None, result.exception
    statuses = {item.node.name: (str(item.status), item.message) for item in result.result.results}
    statuses = {name: status for name, status in statuses.items() if not name.startswith("event_pipeline-")}
    assert len(statuses) >= 10
    assert {name: status for name, status in statuses.items() if status[0] != "pass"} == {}


@real
def test_gold_builds_from_nothing_and_takes_no_personal_column_along(empty: Settings) -> None:
    run = build_gold(empty)
    assert (run.status, run.message) == ("success", "")
    with psycopg.connect(empty.postgres_url.get_secret_value()) as connection:
        for name in (path.stem for path in GOLD.glob("gold_customer*.sql")):
            assert connection.execute(f"SELECT count(*) FROM gold.{name}").fetchone() == (0,)  # type: ignore[arg-type]  # our own file names
        found = connection.execute("""
            SELECT table_name FROM information_schema.columns
            WHERE table_schema IN ('staging', 'core', 'gold') AND column_name IN ('email', 'name')
        """).fetchall()
    assert {table for (table,) in found} == {
        "snapshot_products",
        "stg_products",
        "dim_products",
        "gold_product_performance",
    }


@real
def test_a_second_build_at_a_time_is_skipped(empty: Settings) -> None:
    with psycopg.connect(empty.postgres_url.get_secret_value(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        run = build_gold(empty)
    assert run.status == "skipped"
    assert run.ok
    assert run.summary() == "gold: skipped, another build is running"


@real
def test_a_run_whose_process_died_is_marked(empty: Settings) -> None:
    with psycopg.connect(empty.postgres_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("INSERT INTO ops.ops_dbt_runs (run_id, started_at) VALUES ('dead', now())")
        build_gold(empty)
        row = connection.execute("SELECT status FROM ops.ops_dbt_runs WHERE run_id = 'dead'").fetchone()
    assert row == ("interrupted",)


@real
def test_a_test_that_does_not_hold_fails_the_command_and_says_which(empty: Settings) -> None:
    with odd_level(empty), gold_command(empty) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, "")
    assert re.fullmatch(
        r"gold: failed in .* 1 failed, .*; accepted_values_stg_system_logs_level.*; "
        r"(nothing was published|the last good gold stands, as of 2.* UTC)\n",
        out,
    ), out


@real
def test_a_database_that_goes_away_between_the_halves_is_one_line(
    empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise psycopg.OperationalError("the server\nis gone")

    monkeypatch.setattr(build, "score_customers", away)
    with pytest.raises(UserError, match=r"Postgres says: the server is gone$"):
        build_gold(empty)


def test_what_has_stopped_one_half_is_not_forgotten_by_the_other() -> None:
    stopped = Outcome(stopped="no memory")
    assert stopped.then(Outcome()).stopped == Outcome().then(stopped).stopped == "no memory"


@real
def test_on_an_interval_it_goes_on_until_sigterm(empty: Settings) -> None:
    with gold_command(empty, "--every", "1", "--json") as process:
        assert process.stdout is not None
        runs = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert [run["status"] for run in runs] == ["success", "success"]
    assert (process.returncode, err) == (0, "")


@real
def test_a_database_without_tables_says_what_to_run(database: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, postgres_url=database, home=tmp_path)
    with pytest.raises(UserError, match="run `pipeline migrate`") as caught:
        build_gold(settings)
    assert caught.value.exit_code == CONFIGURATION


def test_a_database_that_is_down_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://pipeline@127.0.0.1:{free_port()}/pipeline"
    with gold_command(Settings(_env_file=None, postgres_url=url, home=tmp_path)) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"pipeline: Postgres cannot be reached .*\n", err), err


def test_as_of_a_day_is_the_end_of_it() -> None:
    assert parse_as_of("2026-01-31") == datetime(2026, 2, 1, tzinfo=UTC)
    assert parse_as_of("2026-01-31T10:00:00+02:00") == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert parse_as_of("2026-01-31T10:00:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "9999-12-31", ""])
def test_as_of_nonsense_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="neither a day"):
        parse_as_of(value)
