"""The services of the local platform: which are ours to run, where they listen, and when they answer."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka.admin import AdminClient

from pipeline.errors import LocalError
from pipeline.local import emulator, kafka, ports, postgres
from pipeline.local.programs import Program
from pipeline.settings import Settings
from streams.topics import TopicsError, partition_counts

KAFKA, POSTGRES, KINESIS = "kafka", "postgres", "kinesis"
USUAL_PORTS = {KAFKA: 9092, POSTGRES: 5432, KINESIS: 4566}
FIELDS = {KAFKA: "kafka_bootstrap", POSTGRES: "postgres_url", KINESIS: "kinesis_endpoint"}
"""The settings that name a service; one that the user sets means that the service is not ours to run."""

READY_SECONDS = 60.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Service:
    """A service that the platform runs.

    Attributes:
        program: how it is run.
        endpoints: names and values of the settings by which others reach it.
        is_ready: raises or gives False until it answers.
    """

    program: Program
    endpoints: dict[str, str]
    is_ready: Callable[[], bool]


def ours(settings: Settings, written: dict[str, Any]) -> list[str]:
    """Give the services that the user gave no address of.

    Args:
        settings: as loaded.
        written: what the platform wrote in an earlier run; settings equal to that are not the user's.
    """
    return [
        service
        for service, name in FIELDS.items()
        if name not in settings.model_fields_set or _plain(getattr(settings, name)) == written.get(name)
    ]


def written_port(written: dict[str, Any], service: str) -> int | None:
    """Give the port of an earlier run."""
    found = written.get("ports", {}).get(service)
    return found if isinstance(found, int) else None


def kafka_service(home: Path, port: int) -> Service:
    """Prepare Kafka.

    Raises:
        LocalError: no Java, no jars, or its storage cannot be formatted.
    """
    folder, data = home / "kafka", home / "kafka" / "data"
    command = kafka.java_command(kafka.find_java(), kafka.find_jars(), folder)
    properties = kafka.server_properties(data, port=port, controller_port=ports.free_port())
    path = kafka.write_configuration(folder, properties)
    kafka.format_storage(command, path, data)
    bootstrap = f"{ports.HOST}:{port}"

    def is_ready() -> bool:
        if ports.is_free(port):
            return False
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        return bool(partition_counts(admin, timeout_seconds=2.0) is not None)

    return Service(
        Program(KAFKA, [*command, "kafka.Kafka", str(path)], directory=folder, stop_seconds=30),
        {"kafka_bootstrap": bootstrap},
        is_ready,
    )


def postgres_service(home: Path, port: int) -> Service:
    """Prepare PostgreSQL.

    Raises:
        LocalError: it cannot be set up.
    """
    folder = home / "postgres"
    folder.mkdir(parents=True, exist_ok=True)
    data, password = folder / "data", folder / "password"
    postgres.initialise(data, password)
    url = postgres.url(port, password)

    def is_ready() -> bool:
        postgres.ensure_database(url)
        return True

    return Service(
        # INT is its fast shutdown; TERM would wait for every client.
        Program(
            POSTGRES,
            postgres.server_command(data, port),
            directory=Path("/"),
            stop_signal="INT",
            stop_seconds=30,
        ),
        {"postgres_url": url},
        is_ready,
    )


def kinesis_service(port: int, *, region: str, shards: int) -> Service:
    """Prepare the emulator of Kinesis and DynamoDB."""
    url = f"http://{ports.HOST}:{port}"
    return Service(
        emulator.program(KINESIS, host=ports.HOST, port=port, region=region, shards=shards),
        {"kinesis_endpoint": url, "dynamodb_endpoint": url},
        lambda: not ports.is_free(port),
    )


def wait_until_ready(service: Service, failures: Callable[[], int], log: Path) -> float:
    """Wait until a service answers, and give how many seconds that took.

    Args:
        service: the service.
        failures: gives how often it has ended since it was started.
        log: its log, whose end is shown if it fails.

    Raises:
        LocalError: it ends again and again, or does not answer in time.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < READY_SECONDS:
        try:
            if service.is_ready():
                return time.monotonic() - begun
        except (psycopg.Error, TopicsError, OSError):
            pass
        if failures() > 1:
            break
        time.sleep(POLL_SECONDS)
    raise LocalError(f"{service.program.name} does not come up; the end of {log}:\n{tail(log)}")


def check_given(settings: Settings, not_ours: list[str]) -> None:
    """Try the services that the user gave.

    Raises:
        LocalError: one does not answer.
    """
    if POSTGRES in not_ours:
        try:
            psycopg.connect(settings.postgres_url.get_secret_value(), connect_timeout=5).close()
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise LocalError(
                f"PostgreSQL cannot be reached ({reason}): start it, or correct PIPELINE_POSTGRES_URL "
                f"(unset: a local one is started)"
            ) from error
    if KAFKA in not_ours:
        try:
            partition_counts(
                AdminClient({**settings.kafka.librdkafka(), "log_level": 0}), timeout_seconds=5.0
            )
        except TopicsError as error:
            raise LocalError(
                f"{error}: PIPELINE_KAFKA_BOOTSTRAP is {settings.kafka_bootstrap} "
                f"(unset: a local one is started)"
            ) from error
    if KINESIS in not_ours and settings.kinesis_endpoint:
        host, _, port = settings.kinesis_endpoint.partition("://")[2].rstrip("/").partition(":")
        try:
            socket.create_connection((host, int(port or 443)), timeout=5).close()
        except (OSError, ValueError) as error:
            raise LocalError(
                f"Kinesis cannot be reached ({error}): correct PIPELINE_KINESIS_ENDPOINT "
                f"(unset: a local emulator is started)"
            ) from error


def tail(log: Path, lines: int = 5) -> str:
    """Give the last lines of a log, indented; says so if there are none."""
    try:
        found = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        found = []
    return "\n".join(f"  {line}" for line in found) or "  (empty)"


def _plain(value: Any) -> Any:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value
