import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url, text

from sinks import migrate
from sinks.schema import metadata

pytestmark = pytest.mark.real


def test_revisions_are_applied_once_and_make_what_the_metadata_says(empty_url: str) -> None:
    missing = migrate.check(empty_url)
    assert missing is not None
    assert "pipeline migrate" in missing

    assert migrate.upgrade(empty_url) == ["0001", "0002", "0003"]
    assert migrate.upgrade(empty_url) == []
    assert migrate.check(empty_url) is None

    with migrate._connect(empty_url) as connection:
        context = MigrationContext.configure(connection, opts=migrate.configure_options())
        assert compare_metadata(context, metadata) == []
    with psycopg.connect(empty_url) as connection:
        found = connection.execute(
            """
            SELECT n.nspname || '.' || c.relname
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname IN ('bronze', 'silver', 'ops') AND c.relkind IN ('r', 'p')
                AND NOT c.relispartition
            """
        ).fetchall()
    assert {name for (name,) in found} == set(metadata.tables) | {"ops.alembic_version"}


def test_a_database_of_the_first_revision_in_use_is_brought_up_with_its_rows(empty_url: str) -> None:
    with migrate._connect(empty_url) as connection:
        connection.execute(text("CREATE SCHEMA ops"))
        connection.commit()
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            """
            CREATE VIEW silver.silver_live_sessions AS
            SELECT * FROM silver.silver_sessions WHERE ended_at > now();
            INSERT INTO silver.silver_customers
                (customer_id, created_at, first_seen_at, last_seen_at, total_spent)
            VALUES ('c1', now(), now(), now(), 9.99);
            INSERT INTO silver.silver_identities VALUES ('v1', 'c1', now());
            INSERT INTO silver.silver_product_events (event_id, content_hash, occurred_at, arrived_at, stream,
                stream_epoch, shard, sequence_number, sub_sequence_number, visitor_id, channel, event_type)
            SELECT gen_random_uuid(), 1, now() - make_interval(hours => n), now(), 'product-events', 1, 's',
                n::text, 0, 'v1', 'channel ' || n, 'page_viewed'
            FROM generate_series(1, 3) AS n;
            """
        )
    assert migrate.upgrade(empty_url) == ["0002", "0003"]
    with psycopg.connect(empty_url) as connection:
        found = connection.execute(
            """
            SELECT total_spent, acquisition_channel, acquisition_event_id IS NULL
            FROM silver.silver_customers
            """
        ).fetchall()
        connection.execute("SELECT FROM silver.silver_live_sessions")
    assert found == [(Decimal("9.99"), "channel 3", False)]


def test_live_sessions_follow_the_gap(empty_url: str) -> None:
    migrate.upgrade(empty_url, session_gap_seconds=60)
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            """
            INSERT INTO silver.silver_sessions (session_id, visitor_id, started_at, ended_at)
            VALUES ('live', 'v', now(), now() - interval '59 s'),
                ('over', 'v', now(), now() - interval '61 s')
            """
        )
        live = connection.execute("SELECT session_id FROM silver.silver_live_sessions").fetchall()
        connection.rollback()
    assert live == [("live",)]


def test_a_revision_of_a_newer_version_is_refused_in_one_line(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("UPDATE ops.alembic_version SET version_num = '9999'")
        try:
            with pytest.raises(migrate.MigrationError, match="9999, which this version does not know"):
                migrate.check(empty_url)
        finally:
            connection.execute("UPDATE ops.alembic_version SET version_num = '0003'")


def test_many_may_migrate_at_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate.upgrade, [empty_url] * 4))
    assert sorted(applied) == [[], [], [], ["0001", "0002", "0003"]]


def test_a_user_without_the_right_is_told_in_one_line(empty_url: str, server_url: str) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'".encode())
        try:
            url = make_url(empty_url).set(username=role, password=role)
            with pytest.raises(migrate.MigrationError, match="permission denied") as raised:
                migrate.upgrade(url.render_as_string(hide_password=False))
            assert "\n" not in str(raised.value)
        finally:
            admin.execute(f"DROP ROLE {role}".encode())


def test_a_server_that_is_down_is_told_in_one_line() -> None:
    with pytest.raises(migrate.MigrationError, match="Postgres cannot be reached") as raised:
        migrate.check("postgresql://nobody@127.0.0.1:1/none")
    assert "\n" not in str(raised.value)
