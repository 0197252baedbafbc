"""When a build makes everything anew, and when it goes on from the one before."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import migrated_database
from sqlalchemy import Connection, create_engine, make_url, text

from pipeline.gold.refresh import Versions, has_seeds, note_done, versions, why_anew
from pipeline.local.platform import LocalPlatform
from sinks.changes import REBUILT

NOW = datetime.now(UTC)
VERSION = Versions(project="this", seeds="these")
real = pytest.mark.real


@pytest.fixture
def connection(platform: LocalPlatform) -> Iterator[Connection]:
    """To a database in which a build has just been done."""
    with migrated_database(platform) as url:
        engine = create_engine(
            make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text("CREATE SCHEMA staging"))
            connection.execute(
                text("""
                    CREATE TABLE staging.snapshot_run AS
                    SELECT now() AS as_of, pg_snapshot_xmin(pg_current_snapshot()) AS to_xid,
                        false AS is_built, NULL AS project, NULL AS seeds
                """)
            )
            note_done(connection, VERSION, went_on=False)
            yield connection
        engine.dispose()


@real
def test_a_build_goes_on_from_one_that_was_done(connection: Connection) -> None:
    assert why_anew(connection, VERSION, None) == ""
    assert why_anew(connection, VERSION, NOW + timedelta(days=1)) == ""
    assert has_seeds(connection, VERSION)


@real
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("DROP TABLE staging.snapshot_run", "nothing is built yet"),
        ("TRUNCATE staging.snapshot_run", "nothing is built yet"),
        ("ALTER TABLE staging.snapshot_run DROP COLUMN project", "of another version"),
        ("UPDATE staging.snapshot_run SET project = NULL", "of another project, or did not hold"),
        ("UPDATE staging.snapshot_run SET to_xid = '999999999999'", "restored"),
        (f"INSERT INTO ops.ops_changes (kind, key) VALUES ('{REBUILT}', 'silver')", "silver was rebuilt"),
    ],
)
def test_a_build_makes_everything_anew(connection: Connection, change: str, why: str) -> None:
    connection.execute(text(change))
    assert why in why_anew(connection, VERSION, None)


@real
@pytest.mark.parametrize(("went_on", "why"), [(False, ""), (True, "of another project, or did not hold")])
def test_where_a_table_was_made_whole_only_a_full_refresh_is_gone_on_from(
    connection: Connection, went_on: bool, why: str
) -> None:
    connection.execute(text("UPDATE staging.snapshot_run SET project = NULL"))
    note_done(connection, VERSION, went_on=went_on)
    assert why in why_anew(connection, VERSION, None)
    assert bool(why) == bool(why_anew(connection, VERSION, None))


@real
def test_a_build_as_of_before_makes_everything_anew(connection: Connection) -> None:
    assert "later instant" in why_anew(connection, VERSION, NOW - timedelta(days=1))


@real
def test_a_rebuild_before_the_last_copy_was_taken_in(connection: Connection) -> None:
    connection.execute(text(f"INSERT INTO ops.ops_changes (kind, key) VALUES ('{REBUILT}', 'silver')"))
    connection.execute(
        text("UPDATE staging.snapshot_run SET to_xid = pg_snapshot_xmin(pg_current_snapshot())")
    )
    assert why_anew(connection, VERSION, None) == ""


def test_a_project_is_another_one_if_a_model_or_a_variable_is(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "seeds").mkdir()
    (tmp_path / "dbt_project.yml").write_text("name: one")
    (tmp_path / "seeds" / "rfm_segments.csv").write_text("segment")
    model = tmp_path / "models" / "one.sql"
    model.write_text("select 1")
    first = versions(tmp_path, {"gap": 1})
    assert versions(tmp_path, {"gap": 1}) == first
    assert versions(tmp_path, {"gap": 2}).project != first.project
    model.write_text("select 2")
    assert versions(tmp_path, {"gap": 1}).project != first.project


def test_other_spend_is_loaded_and_makes_nothing_else_anew(tmp_path: Path) -> None:
    for name in ("rfm_segments.csv", "marketing_spend.csv"):
        (tmp_path / "seeds").mkdir(exist_ok=True)
        (tmp_path / "seeds" / name).write_text("one")
    (tmp_path / "dbt_project.yml").write_text("name: one")
    first = versions(tmp_path, {})
    (tmp_path / "seeds" / "marketing_spend.csv").write_text("two")
    assert versions(tmp_path, {}).project == first.project
    assert versions(tmp_path, {}).seeds != first.seeds
    for name in ("rfm_segments.csv", "channels.csv"):
        before = versions(tmp_path, {})
        (tmp_path / "seeds" / name).write_text("two")
        assert versions(tmp_path, {}).project != before.project
