import os
from collections.abc import Iterator

import pytest
from sink_databases import empty_tables, new_database

from sinks.database import Database
from sinks.migrate import upgrade
from sinks.registry import open_database


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The admin URL of a server: any by `TEST_POSTGRES_URL`, else the local platform's."""
    given = os.environ.get("TEST_POSTGRES_URL")
    return given or str(request.getfixturevalue("platform").postgres_url)


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A database without tables."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def migrated_url(server_url: str) -> Iterator[str]:
    """A database of this module's own, with our tables."""
    with new_database(server_url) as url:
        upgrade(url)
        yield url


@pytest.fixture
def store(migrated_url: str) -> Iterator[Database]:
    """A database for sinks, with our tables and nothing in them."""
    empty_tables(migrated_url)
    store = open_database(migrated_url, retry_seconds=30)
    yield store
    store.close()
