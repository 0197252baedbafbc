import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import psycopg
import pytest
from sink_databases import new_database
from sink_examples import clean, customer_state, page_viewed
from sqlalchemy import make_url

from sinks.migrate import MigrationError, upgrade
from sinks.rebuild_schema import create_silver
from sinks.registry import SINKS, open_database
from sinks.roles import PARTLY_HIDDEN, grant_reader, prepare_reader
from sinks.schema import BRONZE, metadata
from sinks.views import create_views
from streams.engine.batch import placed
from streams.topics import CLEAN_EVENTS, SILVER_CUSTOMERS

pytestmark = pytest.mark.real


class Reader(NamedTuple):
    role: str
    owner_url: str
    url: str

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def own(self, *statements: str) -> None:
        with psycopg.connect(self.owner_url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def is_refused(self, query: str) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
            self.rows(query)


@pytest.fixture
def reader(server_url: str) -> Iterator[Reader]:
    """An analyst: someone who logs in as a member of the readers' role."""
    role, analyst = (f"{name}_{uuid.uuid4().hex[:8]}" for name in ("reader", "analyst"))
    with new_database(server_url) as url:
        upgrade(url)
        assert prepare_reader(url, role, password="a-password") is None
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {analyst} LOGIN PASSWORD '{analyst}' IN ROLE {role}".encode())
        yield Reader(role, url, url_of(url, analyst, analyst))
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"DROP ROLE {analyst}; DROP ROLE {role}".encode())


def url_of(url: str, user: str, password: str) -> str:
    return make_url(url).set(username=user, password=password).render_as_string(hide_password=False)


@pytest.fixture
def filled(reader: Reader) -> Reader:
    database = open_database(reader.owner_url)
    profile = {"email": "ada@example.com", "name": "Ada", "email_hash": "f00", "email_domain": "example.com"}
    SINKS[SILVER_CUSTOMERS](database, placed([customer_state("c1", (1, 1), **profile)], 0))
    SINKS[CLEAN_EVENTS](database, placed([clean(page_viewed(1), 1)], 0))
    database.close()
    return reader


def test_a_reader_reads_customers_but_for_what_is_personal(filled: Reader) -> None:
    row = ("c1", "f00", "example.com")
    query = "SELECT customer_id, email_hash, email_domain FROM silver.silver_{}customers"
    assert filled.rows(query.format("")) == [row]
    assert filled.rows(query.format("open_")) == [row]
    assert len(filled.rows("SELECT * FROM silver.silver_open_customers")) == 1
    for columns in ("email", "name", "*", "silver_customers", "count(email)"):
        filled.is_refused(f"SELECT {columns} FROM silver.silver_customers")
    filled.is_refused("SELECT customer_id FROM silver.silver_customers WHERE email = 'ada@example.com'")


def test_a_reader_reads_all_else_of_silver_and_ops_and_nothing_of_bronze_and_dead_letters(
    filled: Reader,
) -> None:
    closed = {*(table.name for table in BRONZE.values()), "dead_letters"}
    for table in metadata.tables.values():
        if table.name in closed:
            filled.is_refused(f"SELECT count(*) FROM {table}")
        elif table.name not in PARTLY_HIDDEN:
            filled.rows(f"SELECT * FROM {table} LIMIT 1")
    assert filled.rows("SELECT count(*) FROM silver.silver_product_events") == [(1,)]
    filled.rows("SELECT * FROM silver.silver_live_sessions")


def test_a_reader_writes_nothing(filled: Reader) -> None:
    for statement in (
        "DELETE FROM silver.silver_sessions",
        "UPDATE ops.ops_hops SET hop = ''",
        "CREATE TABLE gold.mine (n int)",
        "CREATE TABLE silver.mine (n int)",
    ):
        filled.is_refused(statement)


def test_no_table_that_is_open_has_a_column_called_like_a_personal_one(filled: Reader) -> None:
    found = filled.rows(
        """
        SELECT table_schema, table_name, column_name FROM information_schema.columns
        WHERE table_schema IN ('silver', 'ops', 'core', 'gold')
            AND column_name IN ('email', 'birth_year', 'ip', 'payload')
        """
    )
    assert found == []  # the view of columns shows only those one may use


def test_what_dbt_drops_and_makes_again_can_be_read_at_once(reader: Reader) -> None:
    for schema in ("gold", "core"):
        for n in range(2):
            reader.own(
                f"DROP TABLE IF EXISTS {schema}.made CASCADE",
                f"CREATE TABLE {schema}.made__dbt_tmp AS SELECT {n} AS n",
                f"ALTER TABLE {schema}.made__dbt_tmp RENAME TO made",
            )
            assert reader.rows(f"SELECT n FROM {schema}.made") == [(n,)]


def test_grants_are_given_while_dbt_builds(reader: Reader) -> None:
    stop = threading.Event()

    def build() -> None:
        with psycopg.connect(reader.owner_url, autocommit=True) as connection:
            while not stop.is_set():
                for n in range(8):
                    connection.execute(
                        f"DROP TABLE IF EXISTS gold.t{n}; CREATE TABLE gold.tmp AS SELECT 1 AS n;"
                        f"ALTER TABLE gold.tmp RENAME TO t{n}; ANALYZE gold.t{n}".encode()
                    )

    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build)
        try:
            for _ in range(40):
                assert prepare_reader(reader.owner_url, reader.role) is None
        finally:
            stop.set()
        building.result()
    for n in range(8):
        assert reader.rows(f"SELECT n FROM gold.t{n}") == [(1,)]


def test_what_dbt_copies_of_silver_is_not_for_readers(reader: Reader) -> None:
    reader.own("CREATE SCHEMA staging", "CREATE TABLE staging.snapshot_customers (customer_id text)")
    reader.is_refused("SELECT * FROM staging.snapshot_customers")


def test_grants_come_again_when_silver_is_swapped_and_when_a_table_is_new(reader: Reader) -> None:
    with psycopg.connect(reader.owner_url) as connection:
        create_silver(connection, "silver_next")
        for table in ("ops_changes", "ops_hops", "ops_session_revisions"):
            connection.execute(f"DROP TABLE silver_next.{table}".encode())
        connection.execute(b"ALTER SCHEMA silver RENAME TO silver_old")
        connection.execute(b"ALTER SCHEMA silver_next RENAME TO silver")
        connection.execute(b"CREATE TABLE silver.silver_secrets (n int)")
        create_views(connection, 1800)
        assert grant_reader(connection, reader.role)
        connection.execute(b"DROP SCHEMA silver_old CASCADE")
    reader.is_refused("SELECT email FROM silver.silver_customers")
    reader.is_refused("SELECT * FROM silver.dead_letters")
    reader.is_refused("SELECT * FROM silver.silver_secrets")
    reader.rows("SELECT customer_id FROM silver.silver_customers")
    reader.rows("SELECT * FROM silver.silver_transactions")
    reader.rows("SELECT * FROM silver.silver_live_sessions")


def test_a_column_once_open_is_closed_by_granting_again(reader: Reader) -> None:
    reader.own(
        f"GRANT SELECT ON silver.silver_customers TO {reader.role}",
        f"GRANT SELECT (payload) ON silver.dead_letters TO {reader.role}",
    )
    reader.rows("SELECT email FROM silver.silver_customers")
    assert prepare_reader(reader.owner_url, reader.role) is None
    reader.is_refused("SELECT email FROM silver.silver_customers")
    reader.is_refused("SELECT payload FROM silver.dead_letters")


def test_the_password_that_was_set_lets_the_role_in(reader: Reader) -> None:
    as_role = reader._replace(url=url_of(reader.owner_url, reader.role, "a-password"))
    as_role.rows("SELECT 1")
    prepare_reader(reader.owner_url, reader.role)
    as_role.rows("SELECT 1")
    prepare_reader(reader.owner_url, reader.role, password="another")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        as_role.rows("SELECT 1")


def test_a_user_who_may_not_make_roles_is_told_what_to_run(empty_url: str, server_url: str) -> None:
    owner, role = (f"{name}_{uuid.uuid4().hex[:8]}" for name in ("owner", "reader"))
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {owner} LOGIN PASSWORD '{owner}'".encode())
        name = make_url(empty_url).database
        admin.execute(f"GRANT CREATE ON DATABASE {name} TO {owner}".encode())
        url = url_of(empty_url, owner, owner)
        try:
            upgrade(url)
            to_do = prepare_reader(url, role)
            assert to_do is not None
            assert f'CREATE ROLE "{role}" LOGIN' in to_do
            assert "pipeline migrate" in to_do
            assert "\n" not in to_do
            with psycopg.connect(url) as connection:
                assert not grant_reader(connection, role)
            admin.execute(f"CREATE ROLE {role} LOGIN".encode())
            assert prepare_reader(url, role) is None
            to_do = prepare_reader(url, role, password="secret")
            assert to_do is not None
            assert "secret" not in to_do
        finally:
            with psycopg.connect(empty_url, autocommit=True) as connection:
                connection.execute(f"DROP OWNED BY {owner}".encode())
                if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                    connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
            admin.execute(f"DROP OWNED BY {owner}; DROP ROLE {owner}".encode())


def test_tables_of_someone_else_are_told_in_one_line(reader: Reader) -> None:
    with pytest.raises(MigrationError, match=r"permission denied|must be owner") as raised:
        prepare_reader(reader.url, reader.role)
    assert "\n" not in str(raised.value)


def test_schemas_that_are_not_for_readers_cannot_be_opened(reader: Reader) -> None:
    with psycopg.connect(reader.owner_url) as connection, pytest.raises(ValueError, match="bronze"):
        grant_reader(connection, reader.role, ["bronze"])
