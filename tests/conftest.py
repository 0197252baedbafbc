"""What tests share: a real platform, started once and only if a test asks for it."""

import os
import uuid
from collections.abc import Callable, Iterator

import hypothesis
import psycopg
import pytest
from psycopg import sql

from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.settings import Settings

# An emulator takes any credentials; a test must never find real ones.
os.environ.update(
    AWS_ACCESS_KEY_ID="local",
    AWS_SECRET_ACCESS_KEY="local",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
)
for name in [name for name in os.environ if name.startswith("PIPELINE_") or name == "AWS_PROFILE"]:
    del os.environ[name]

# Times vary too much on a machine that does other things. `long` is for `make test-long`.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile("default")


LONGEST_FILES = (
    "tests/faults/test_faults.py",
    "tests/integration/test_rebuild.py",
    "tests/integration/test_dead_letter_round.py",
    "tests/integration/test_path.py",
    "tests/contract/test_ingest.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, or one process is left with them when all else is done."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST_FILES))


@pytest.fixture(scope="session")
def new_settings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Settings]:
    """Make settings of a platform in a home that is thrown away."""
    # Ports of their own: several runs may stand side by side, and the usual ones are for users.
    return lambda: Settings(
        _env_file=None,
        home=tmp_path_factory.mktemp("home"),
        kafka_port=free_port(),
        postgres_port=free_port(),
        kinesis_port=free_port(),
    )


@pytest.fixture(scope="session")
def platform(new_settings: Callable[[], Settings]) -> Iterator[LocalPlatform]:
    """Kafka, Postgres and the emulator of Kinesis, all real, shared by all tests that do them no harm."""
    with LocalPlatform(new_settings()) as running:
        yield running


@pytest.fixture
def database(platform: LocalPlatform) -> Iterator[str]:
    """URL of a new empty database, dropped after the test whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    identifier = sql.Identifier(name)
    with psycopg.connect(platform.postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        yield platform.postgres_url.rpartition("/")[0] + f"/{name}"
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Make names of topics, groups or tables that no other test uses."""
    return lambda name: f"{name}.{uuid.uuid4().hex[:12]}"
