"""A world in a database of its own, and gold built from it."""

import csv
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gold_reference import Reference
from gold_world import AS_OF, World, make_world, write_world
from psycopg import sql
from psycopg.rows import dict_row

from pipeline.gold.build import PROJECT, GoldRun, build_gold
from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from sinks.changes import REBUILT
from sinks.migrate import upgrade


@dataclass
class Built:
    """A database with gold in it."""

    settings: Settings
    project: Path
    world: World
    reference: Reference
    run: GoldRun

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(
            self.settings.postgres_url.get_secret_value(), row_factory=dict_row
        ) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]  # queries are the tests' own

    def build(self, **options: Any) -> GoldRun:
        return build_gold(self.settings, as_of=AS_OF, project=self.project, **options)


@contextmanager
def migrated_database(platform: LocalPlatform) -> Iterator[str]:
    """Give the URL of a database that goes away afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    url = platform.postgres_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(platform.postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        upgrade(url)
        yield url
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def changed_by_hand(connection: psycopg.Connection) -> None:
    """Note that facts are not what they were; without it builds go on from what they know."""
    connection.execute("INSERT INTO ops.ops_changes (kind, key) VALUES (%s, 'silver')", (REBUILT,))


@contextmanager
def odd_level(settings: Settings) -> Iterator[None]:
    """A line of a log with a level that there is not: a test of severity error fails while it is there."""
    with psycopg.connect(settings.postgres_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("""
            INSERT INTO silver.silver_system_logs (event_id, content_hash, occurred_at, arrived_at, stream,
                stream_epoch, shard, sequence_number, sub_sequence_number, service, level, message)
            VALUES (gen_random_uuid(), 0, '2026-01-01', now(), 'system-logs', 0, '', '', 0, 'shop', 'odd', '')
        """)
        changed_by_hand(connection)
        try:
            yield
        finally:
            connection.execute("DELETE FROM silver.silver_system_logs WHERE level = 'odd'")
            changed_by_hand(connection)


@contextmanager
def gold_command(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `pipeline gold` as a process, which is killed if it still runs in the end."""
    environment = {
        **os.environ,
        "PIPELINE_POSTGRES_URL": settings.postgres_url.get_secret_value(),
        "PIPELINE_HOME": str(settings.home),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "gold", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def built(platform: LocalPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Gold of a world, with seeds of the tests' own."""
    world = make_world(seed=7, customers=300)
    project = tmp_path_factory.mktemp("project") / "dbt"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    with (project / "seeds" / "marketing_spend.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("spend_date", "channel", "campaign", "spend"), *world.spend])
    with migrated_database(platform) as url:
        write_world(url, world)
        settings = Settings(_env_file=None, postgres_url=url, home=tmp_path_factory.mktemp("home"))
        run = build_gold(settings, as_of=AS_OF, project=project)
        assert run.models_error == 0, run.message
        yield Built(settings, project, world, Reference(world), run)


@pytest.fixture(scope="session")
def empty(platform: LocalPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a database in which nothing has arrived yet."""
    with migrated_database(platform) as url:
        yield Settings(_env_file=None, postgres_url=url, home=tmp_path_factory.mktemp("home"))
