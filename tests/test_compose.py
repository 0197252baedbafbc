"""docker-compose.yml and what stands around it: valid, and true to the code."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pipeline.cli import COMMANDS, pipeline
from pipeline.settings import Settings
from streams.events import STREAMS
from streams.topics import MAX_MESSAGE_BYTES

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
WORKER_SCRIPT = ROOT / "deploy" / "worker.sh"


def test_the_file_fits_the_compose_specification() -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("check-jsonschema"),
            *("--builtin-schema", "vendor.compose-spec"),
            str(ROOT / "docker-compose.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_to_a_release(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.fullmatch(r"\d+(\.\d+)+", tag)


def test_our_image_is_named_by_our_version() -> None:
    version = re.search(r"^version = (.+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert version is not None
    assert {service["image"] for service in OURS.values()} == {f"event-pipeline:{version[1]}"}


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str) -> None:
    given = OURS[name]["environment"]
    prefix = "PIPELINE_"
    unknown = {key for key in given if key.removeprefix(prefix).lower() not in Settings.model_fields}
    assert unknown == set()
    values = {key.removeprefix(prefix).lower(): str(value) for key, value in given.items()}
    Settings(_env_file=None, **values)


@pytest.mark.parametrize("name", OURS)
def test_commands_parse(name: str) -> None:
    words = OURS[name]["command"]
    command = pipeline.get_command(click.Context(pipeline), words[0])
    assert command is not None
    command.make_context(words[0], list(words[1:]))


def test_every_stream_is_read_and_made() -> None:
    read = {s["command"][-1] for s in OURS.values() if s["command"][0] == "ingest"}
    assert read == set(STREAMS)
    made = re.search(
        r"^for stream in (.+); do$", (ROOT / "deploy/localstack/create-streams.sh").read_text(), re.MULTILINE
    )
    assert made is not None
    assert set(made[1].split()) == set(STREAMS)


def test_the_whole_path_is_there() -> None:
    commands = {service["command"][0] for service in OURS.values()}
    assert commands == {"gold", "ingest", "migrate", "process", "produce", "sink", "topics"} & set(COMMANDS)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_can_happen(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[needed]["restart"] == "no"


@pytest.mark.parametrize("name", SERVICES)
def test_named_volumes_are_declared(name: str) -> None:
    sources = {volume.partition(":")[0] for volume in SERVICES[name].get("volumes", ())}
    assert {source for source in sources if "/" not in source} <= set(COMPOSE["volumes"])
    assert all((ROOT / source).exists() for source in sources if source.startswith("."))


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


def test_workers_that_run_on_are_restarted_but_for_78() -> None:
    for service in OURS.values():
        runs_on = service["restart"] != "no"
        assert service["restart"] == ("on-failure" if runs_on else "no")
        assert service["entrypoint"] == (["/opt/pipeline/deploy/worker.sh"] if runs_on else ["pipeline"])


def test_kafka_takes_messages_as_large_as_ours() -> None:
    environment = SERVICES["kafka"]["environment"]
    assert int(environment["KAFKA_MESSAGE_MAX_BYTES"]) == MAX_MESSAGE_BYTES
    assert int(environment["KAFKA_REPLICA_FETCH_MAX_BYTES"]) == MAX_MESSAGE_BYTES


def test_grafana_logs_in_as_the_role_that_reads_nothing_personal() -> None:
    given, migrate = SERVICES["grafana"]["environment"], OURS["migrate"]["environment"]
    assert given["DATASOURCE_USER"] == Settings.model_fields["reader_role"].default
    assert given["DATASOURCE_PASSWORD"] == migrate["PIPELINE_READER_PASSWORD"]


def test_grafana_is_given_every_variable_of_its_data_source() -> None:
    wanted = re.findall(r"\$(\w+)", (ROOT / "grafana/provisioning/datasources/postgres.yml").read_text())
    assert wanted
    assert set(wanted) <= set(SERVICES["grafana"]["environment"])


def test_shell_scripts_are_clean() -> None:
    scripts = [*(ROOT / "deploy").rglob("*.sh")]
    subprocess.run([Path(sys.executable).with_name("shellcheck"), *scripts], check=True)


def run_worker_script(folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **{f"PIPELINE_{name.upper()}": value for name, value in settings.items()},
    }
    return subprocess.run(
        [WORKER_SCRIPT, "process"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_what_an_operator_must_settle_is_not_restarted(tmp_path: Path) -> None:
    done = run_worker_script(tmp_path, partitions="none")
    assert done.returncode == 0
    assert "PIPELINE_PARTITIONS" in done.stderr
    assert "exited with 78" in done.stderr


def test_what_may_pass_is_restarted(tmp_path: Path) -> None:
    done = run_worker_script(tmp_path, kafka_bootstrap="127.0.0.1:1")
    assert done.returncode == 75


def test_the_image_gets_all_it_needs_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    taken = {line.removeprefix("!").removesuffix("/**") for line in lines if line.startswith("!")}
    assert {"dbt", "pipeline", "processors", "producer", "sinks", "streams", "setup.cfg"} <= taken
    assert {"README.md", "LICENSE", "pyproject.toml", "deploy/worker.sh"} <= taken
    assert all((ROOT / path).exists() for path in taken)
    assert ".venv" not in taken
