"""Readers read what dbt has built and builds again, and none of its copies of silver."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from conftest import Built
from sqlalchemy import make_url

from sinks.roles import prepare_reader

pytestmark = [
    pytest.mark.real,
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture
def reader_url(built: Built) -> Iterator[str]:
    role, url = f"reader_{uuid.uuid4().hex[:8]}", built.settings.postgres_url.get_secret_value()
    assert prepare_reader(url, role, password="a-password") is None
    yield make_url(url).set(username=role, password="a-password").render_as_string(hide_password=False)
    with psycopg.connect(url) as owner:
        owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def relations(built: Built, schema: str) -> list[str]:
    rows = built.rows(
        f"""
        SELECT relname FROM pg_class
        WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'v')
        """
    )
    return [f"{schema}.{row['relname']}" for row in rows]


def test_readers_read_the_star_and_gold_before_and_after_a_build(built: Built, reader_url: str) -> None:
    for _ in range(2):
        names = relations(built, "gold") + relations(built, "core")
        assert len(names) > 20
        with psycopg.connect(reader_url) as reader:
            for name in names:
                reader.execute(f"SELECT * FROM {name} LIMIT 1".encode())
        assert built.build().models_error == 0


@pytest.mark.parametrize("schema", ["staging", "gold_next"])
def test_readers_read_no_copies_of_silver_and_nothing_that_is_not_published(
    built: Built, reader_url: str, schema: str
) -> None:
    names = relations(built, schema)
    assert names
    with psycopg.connect(reader_url, autocommit=True) as reader:
        for name in names:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"schema {schema}"):
                reader.execute(f"SELECT * FROM {name}".encode())
