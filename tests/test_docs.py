"""What the README and docs/ say, held to the code."""

import ast
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import settings_table
import yaml

from pipeline.cli import COMMANDS, pipeline
from pipeline.errors import CONFIGURATION, TRY_AGAIN
from pipeline.settings import REPOSITORY, Settings
from processors.clean.read import read_event
from processors.outcomes import Refusal
from processors.rates import read_rates
from streams.engine.crash import EXIT_CRASH, EXIT_OPERATOR
from streams.events import DECODERS, EVENT_CLASSES, STREAM_OF_TYPE, STREAMS, Event, Stream, event_type_of
from streams.ingest.launcher import RESTART_WANTED

README = REPOSITORY / "README.md"
DOCUMENTS = [README, REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PACKAGES = ("streams", "processors", "sinks", "producer", "pipeline")
COMMAND = re.compile(r"(?:^|[\s(/])pipeline ((?:[\w.…/-]+ ?)+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(REPOSITORY)))


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`]+)`", prose)


def block_after(mark: str, text: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def command_named(name: str) -> click.Command:
    found = pipeline.get_command(click.Context(pipeline), name)
    assert found is not None, f"there is no command `pipeline {name}`"
    return found


def options_of(command: click.Command) -> set[str]:
    nested = command.commands.values() if isinstance(command, click.Group) else ()
    return {
        *{option for parameter in command.params for option in parameter.opts},
        *{option for inner in nested for option in options_of(inner)},
        *{"--help", "-h"},
    }


# -- commands


def shell_lines(document: Path) -> Iterator[str]:
    for block in fenced(document.read_text(), "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.partition("  #")[0]


@each_document
def test_commands_in_examples_parse(document: Path) -> None:
    for line in shell_lines(document):
        for found in re.findall(r"(?:^|\s|\()(?:\.venv/bin/)?pipeline ([^|)#]+)", line):
            name, *arguments = shlex.split(found)
            command_named(name).make_context(name, arguments)


@each_document
def test_commands_in_the_text_exist(document: Path) -> None:
    for span in spans(document.read_text()):
        found = re.match(r"pipeline (\S+)(.*)", span)
        if found is None or found[1] == "COMMAND":
            continue
        used = set(re.findall(r"(?<!\S)--?[a-z][\w-]*", found[2]))
        assert used <= options_of(command_named(found[1])), span


def test_the_table_of_commands_is_complete_and_its_options_exist() -> None:
    section = README.read_text().partition("## Running the pieces")[2].partition("\n## ")[0]
    seen = set()
    for row in re.findall(r"^\| `pipeline .*$", section, re.MULTILINE):
        names = re.findall(r"`pipeline ([\w-]+)", row)
        seen |= set(names)
        known = set().union(*(options_of(command_named(name)) for name in names))
        assert set(re.findall(r"(?<=`)--[\w-]+", row)) <= known, row
    assert seen == set(COMMANDS)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for document in DOCUMENTS
        for text in (*spans(document.read_text()), *shell_lines(document))
        for name in re.findall(r"^make (\w+)", text)
    }
    assert {"demo", "test"} <= named <= targets


def test_exit_codes_are_those_of_the_code() -> None:
    section = (REPOSITORY / "docs/runbook.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert EXIT_OPERATOR == CONFIGURATION
    assert RESTART_WANTED == TRY_AGAIN
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert documented == {0, 1, 2, EXIT_CRASH, TRY_AGAIN, CONFIGURATION, 130}


# -- messages


@cache
def messages_in_code() -> str:
    """Every text in the code but docstrings, one a line, with … for what is filled in."""
    found = []
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if id(node) in docstrings:
                    continue
                if isinstance(node, ast.JoinedStr):
                    parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.sub(r"%(\.\d)?[dsf]", "…", node.value))
    return "\n".join(" ".join(text.split()) for text in found)


def rows_of_messages() -> list[str]:
    section = (REPOSITORY / "docs/runbook.md").read_text().partition("## Messages")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \| ", section, re.MULTILINE)
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("message", rows_of_messages())
def test_messages_in_the_runbook_are_messages_of_the_code(message: str) -> None:
    parts = re.split(r"…|\b[A-Z]\b|\d+", message.replace("setpriv", "…"))
    words = [re.escape(part.strip(" `:")) for part in parts if part.strip(" `:,[].")]
    assert words
    assert re.search("[^\n]*".join(words), messages_in_code()), message


# -- links and files


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@each_document
def test_links_resolve(document: Path) -> None:
    text = document.read_text()
    for target in LINK.findall(text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, target


@each_document
def test_files_named_in_the_text_exist(document: Path) -> None:
    for span in spans(document.read_text()):
        if re.fullmatch(rf"({'|'.join(PACKAGES)}|dbt|tests|docs|grafana|deploy)/[\w./]*", span):
            assert (REPOSITORY / span).exists(), span


@each_document
def test_absolute_paths_are_examples(document: Path) -> None:
    examples = {"/tmp/one", "/tmp/two", "/var/lib/pipeline", "/etc/ssl/db.pem"}
    found = set(re.findall(r"(?<![\w./:*>`…~-])/(?:[a-z]+/)+[\w.-]+", document.read_text()))
    found |= set(re.findall(r"(?<==)/[\w./-]+", document.read_text()))
    assert found <= examples


def test_decisions_are_numbered_and_whole() -> None:
    decisions = sorted((REPOSITORY / "docs/decisions").glob("*.md"))
    for number, path in enumerate(decisions, start=1):
        text = path.read_text()
        assert path.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        headings = re.findall(r"^## (\w+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"]


# -- settings


def test_the_table_of_settings_is_up_to_date() -> None:
    text = settings_table.DOCUMENT.read_text()
    assert text == settings_table.with_table(text), "run `.venv/bin/python tests/settings_table.py`"


@each_document
def test_variables_in_the_text_are_settings(document: Path) -> None:
    known = {f"PIPELINE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"PIPELINE_[A-Z_]*[A-Z]\b(?!_)", document.read_text())) <= known


def test_the_example_of_a_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".env"
    path.write_text(block_after("env", README.read_text()))
    settings = Settings()
    assert settings.environment == "prod"
    assert settings.kinesis_endpoint is None
    assert settings.kafka.security_protocol == "SASL_SSL"
    named = set(re.findall(r"^(\w+)=", path.read_text(), re.MULTILINE))
    assert {name.removeprefix("PIPELINE_").lower() for name in named} == settings.model_fields_set


# -- events


def example_events() -> list[bytes]:
    return block_after("events", README.read_text()).encode().splitlines()


def stream_of(value: bytes) -> Stream:
    return STREAM_OF_TYPE[msgspec.json.decode(value)["event_type"]]


def test_there_is_an_example_of_each_stream() -> None:
    assert {stream_of(value) for value in example_events()} == set(STREAMS)


@pytest.mark.parametrize("value", example_events(), ids=stream_of)
def test_examples_of_events_are_accepted(value: bytes) -> None:
    event: Event = DECODERS[stream_of(value)].decode(value)
    rates = read_rates(Settings(_env_file=None).rates_file, "USD")
    found = read_event(stream_of(value), value, event.occurred_at + timedelta(seconds=1), rates)
    assert not isinstance(found, Refusal), found
    known = {field.encode_name for field in msgspec.structs.fields(event)} | {"event_type"}
    assert set(msgspec.json.decode(value)) <= known


@pytest.mark.parametrize(
    ("stream", "event_class"),
    [(stream, event_class) for stream in STREAMS for event_class in EVENT_CLASSES[stream]],
    ids=lambda value: value if isinstance(value, str) else event_type_of(value),
)
def test_the_table_of_events_has_every_type_and_field(stream: Stream, event_class: type[Event]) -> None:
    rows = re.findall(r"^\| (?:`([\w-]+)` )?\| (`[^|]*) \| ([^|]*) \|$", README.read_text(), re.MULTILINE)
    name, row_stream = event_type_of(event_class), ""
    for stream_cell, types, fields in rows:
        row_stream = stream_cell or row_stream
        if f"`{name}`" in types.split(", ") and row_stream in STREAMS:
            assert row_stream == stream
            described = set(re.findall(r"`(\w+)`", fields))
            own = {field.encode_name for field in msgspec.structs.fields(event_class)}
            common = {field.encode_name for field in msgspec.structs.fields(Event)}
            assert own - common <= described
            return
    pytest.fail(f"{name} is not in the table")


# -- gold


METRICS = REPOSITORY / "docs/metrics.md"
MODELS = REPOSITORY / "dbt/models"
GOLD = sorted(path.stem for path in (MODELS / "gold").glob("*.sql"))


def metrics_section(table: str) -> str:
    found = re.search(rf"^## .*`{table}`$(.*?)(?=^## )", METRICS.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/metrics.md has no heading for {table}"
    return found[1]


def held_by(text: str) -> set[str]:
    """Give the tests that a text names after `Held by`."""
    named = re.findall(r"Held by\s((?:`\w+`(?:,|\sand|,\sand)?\s?)+)", text)
    return {name for names in named for name in re.findall(r"`(\w+)`", names)}


@cache
def unit_tests() -> list[dict[str, Any]]:
    """Give the worked examples of the dbt project."""
    documents = [yaml.safe_load(path.read_text()) for path in MODELS.rglob("*.yml")]
    return [test for document in documents for test in document.get("unit_tests", ())]


def test_the_tables_of_gold_are_all_named() -> None:
    assert set(re.findall(r"^\| `gold\.(\w+)`", METRICS.read_text(), re.MULTILINE)) == set(GOLD)


@pytest.mark.parametrize("table", GOLD)
def test_every_number_of_gold_is_explained_under_its_table(table: str) -> None:
    [model] = yaml.safe_load((MODELS / "gold" / f"{table}.yml").read_text())["models"]
    columns = {column["name"] for column in model["columns"]}
    assert columns <= set(re.findall(r"`(\w+)`", metrics_section(table)))


@pytest.mark.parametrize("table", GOLD)
def test_every_table_of_gold_is_worked_by_hand_and_says_where(table: str) -> None:
    own = {test["name"] for test in unit_tests() if test["model"] == table}
    assert own & held_by(metrics_section(table))


@pytest.mark.parametrize("table", GOLD)
def test_every_column_of_gold_is_expected_by_a_worked_example(table: str) -> None:
    [model] = yaml.safe_load((MODELS / "gold" / f"{table}.yml").read_text())["models"]
    examples = [test["expect"]["rows"] for test in unit_tests() if test["model"] == table]
    expected = {column for rows in examples if isinstance(rows, list) for row in rows for column in row}
    assert {column["name"] for column in model["columns"]} - {"dbt_updated_at"} <= expected


def test_what_holds_an_example_exists() -> None:
    in_python = {
        name
        for path in (REPOSITORY / "tests/pipeline").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = held_by(METRICS.read_text())
    assert named <= {test["name"] for test in unit_tests()} | in_python
    assert len(named) > 30


def test_no_column_of_gold_is_null_in_every_row() -> None:
    sql = "".join(path.read_text() for path in (MODELS / "gold").glob("*.sql"))
    assert re.findall(r"^\s*null::[^\n]*? as (\w+)", sql, re.MULTILINE) == []
