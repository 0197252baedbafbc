"""The real services, also after everything around them has been killed."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from pipeline.errors import LocalError
from pipeline.local import leftovers
from pipeline.local.kafka import (
    find_jars,
    find_java,
    format_storage,
    java_command,
    server_properties,
    write_configuration,
)
from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.prepare import make_topics
from pipeline.settings import Settings, load_settings
from streams.events import STREAMS
from streams.topics import MAX_MESSAGE_BYTES, TOPICS, partition_counts

pytestmark = pytest.mark.real

OWNER = """
import sys, time
from pathlib import Path
from pipeline.local.platform import LocalPlatform
from pipeline.settings import load_settings
platform = LocalPlatform(load_settings(home=Path(sys.argv[1]), kafka_port=int(sys.argv[2])))
platform.start()
print("started", flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def platform(new_settings: Callable[[], Settings]) -> Iterator[LocalPlatform]:
    """A platform of this module's own: its services are killed, restarted and counted."""
    with LocalPlatform(new_settings()) as running:
        yield running


def kinesis(platform: LocalPlatform) -> Any:
    return boto3.client("kinesis", endpoint_url=platform.kinesis_endpoint, region_name="us-east-1")


def created_at(client: Any, stream: str) -> float:
    summary = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    return float(summary["StreamCreationTimestamp"].timestamp())


def records(client: Any, stream: str) -> list[bytes]:
    found = []
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += [record["Data"] for record in client.get_records(ShardIterator=iterator)["Records"]]
    return found


def test_kafkas_storage_is_formatted_whatever_its_id_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8" * 16))  # in base64: -Pj4…
    properties = server_properties(tmp_path / "data", port=free_port(), controller_port=free_port())
    java = java_command(find_java(), find_jars(), tmp_path)
    format_storage(java, write_configuration(tmp_path, properties), tmp_path / "data")
    assert "cluster.id=-Pj4" in (tmp_path / "data" / "meta.properties").read_text()


def test_kafka_takes_declared_topics_and_makes_none_by_itself(platform: LocalPlatform) -> None:
    make_topics(platform.settings)
    assert make_topics(platform.settings) == []
    admin = AdminClient(platform.settings.kafka.librdkafka())
    found = partition_counts(admin)
    assert {found[topic.name] for topic in TOPICS} == {platform.settings.partitions}
    broker = ConfigResource(ResourceType.BROKER, "1")
    values = admin.describe_configs([broker])[broker].result()
    assert values["auto.create.topics.enable"].value == "false"
    assert values["message.max.bytes"].value == str(MAX_MESSAGE_BYTES)
    assert values["group.min.session.timeout.ms"].value == "3000"


def test_a_broker_that_starts_again_is_not_ready_before_it_knows_its_topics(platform: LocalPlatform) -> None:
    make_topics(platform.settings)
    platform.restart("kafka")
    platform.start_services()
    assert {topic.name for topic in TOPICS} <= set(
        partition_counts(AdminClient(platform.settings.kafka.librdkafka()))
    )


def test_postgres_is_ours_alone_and_durable(platform: LocalPlatform, database: str) -> None:
    with psycopg.connect(database) as connection:
        for setting, wanted in {"fsync": "on", "synchronous_commit": "on", "TimeZone": "UTC"}.items():
            assert connection.execute("SELECT current_setting(%s)", (setting,)).fetchone() == (wanted,)
        assert connection.execute("SELECT lower('ÄÖ')").fetchone() == ("äö",)
    host = platform.postgres_url.rpartition("@")[2]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://pipeline@{host}")


def test_a_restarted_emulator_has_its_streams_again_empty_and_newer(platform: LocalPlatform) -> None:
    client = kinesis(platform)
    assert sorted(client.list_streams()["StreamNames"]) == sorted(STREAMS)
    entries = [{"Data": f"{number}".encode(), "PartitionKey": f"{number}"} for number in range(50)]
    assert client.put_records(StreamName="system-logs", Records=entries)["FailedRecordCount"] == 0
    assert sorted(records(client, "system-logs")) == sorted(entry["Data"] for entry in entries)
    before = created_at(client, "system-logs")
    platform.restart("kinesis")
    platform.start_services()
    assert sorted(client.list_streams()["StreamNames"]) == sorted(STREAMS)
    assert records(client, "system-logs") == []
    assert before < created_at(client, "system-logs") <= time.time()
    assert len(client.list_shards(StreamName="system-logs")["Shards"]) == platform.settings.kinesis_shards


def test_a_service_that_dies_comes_back(platform: LocalPlatform) -> None:
    killed = platform.states()["postgres"].pid
    os.kill(killed, 9)
    deadline = time.monotonic() + 30
    while platform.states()["postgres"].pid in {0, killed}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    platform.start_services()
    with psycopg.connect(platform.postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture
def killed_home(tmp_path: Path) -> Iterator[Path]:
    """A home whose owner was killed while its services go on; it holds a table, a topic and a record."""
    home = tmp_path / "a deep home %s" / ("deep" * 20)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home), str(free_port())], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "started\n"
    settings = load_settings(home=home)
    with psycopg.connect(settings.postgres_url.get_secret_value()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    make_topics(settings)
    with pytest.raises(LocalError, match=f"process {owner.pid}"):
        LocalPlatform(settings).start()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    yield home
    leftovers.end(leftovers.find_leftovers(home))


def test_after_a_kill_the_next_start_ends_what_lives_on_and_keeps_the_data(killed_home: Path) -> None:
    lived_on = leftovers.find_leftovers(killed_home)
    assert {"java", "postgres"} <= {process.name() for process in lived_on}
    said: list[str] = []
    before = load_settings(home=killed_home).kafka_bootstrap
    with LocalPlatform(load_settings(home=killed_home), say=said.append) as platform:
        assert not any(leftovers.is_alive(process) for process in lived_on)
        assert any("left behind" in line for line in said)
        assert any("forgets" in line for line in said)
        assert platform.kafka_bootstrap == before
        assert make_topics(platform.settings) == []
        with psycopg.connect(platform.postgres_url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        pids = [state.pid for state in platform.states().values()]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert leftovers.find_leftovers(killed_home) == []


def test_a_service_that_cannot_come_up_shows_its_log(platform: LocalPlatform, tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True, mode=0o700)
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("9")
    (tmp_path / "postgres" / "password").write_text("any")
    settings = load_settings(
        home=tmp_path,
        postgres_port=free_port(),
        kafka_bootstrap=platform.kafka_bootstrap,
        kinesis_endpoint=platform.kinesis_endpoint,
    )
    with pytest.raises(LocalError, match=r"postgres does not come up; the end of .*postgres\.log"):
        LocalPlatform(settings).start()
    assert leftovers.find_leftovers(tmp_path) == []
