"""The direction of imports, and that pure modules stay pure."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PURE = sorted(
    [
        *(ROOT / "processors").rglob("*.py"),
        *(ROOT / "producer" / "oracle").rglob("*.py"),
        *(ROOT / "streams" / name for name in ("events.py", "facts.py", "silver.py", "dead_letters.py")),
        ROOT / "streams" / "transport.py",
        ROOT / "streams" / "engine" / "batch.py",
        ROOT / "streams" / "engine" / "book.py",
    ]
)
# Read when a worker starts: a table of rates and a table of rules.
READS_FILES = {"rates.py", "channels.py", "stages.py"}
IO_MODULES = {
    *("aiokafka", "alembic", "amazon_kclpy", "asyncio", "boto3", "botocore", "confluent_kafka", "faust"),
    *(
        "http",
        "multiprocessing",
        "os",
        "psutil",
        "psycopg",
        "random",
        "rocksdict",
        "shutil",
        "signal",
        "socket",
    ),
    *("sqlalchemy", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"),
}
CLOCKS = {"now", "today", "utcnow"}


def imported_modules(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_packages_import_in_one_direction_only() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_modules_import_nothing_that_does_io(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = imported_modules(tree) - {"urllib.parse"}
    # Types of ids are values; making new ids is not.
    allowed = {"uuid"} if "uuid4" not in path.read_text() else set()
    assert {module.partition(".")[0] for module in imported} & (IO_MODULES - allowed) == set()
    if path.name not in READS_FILES:
        assert "pathlib" not in imported


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_modules_are_given_the_time(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert [call.attr for call in calls if isinstance(call, ast.Attribute) and call.attr in CLOCKS] == []


def test_only_the_command_reads_the_environment() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for package in ("streams", "processors", "sinks", "producer")
        for path in (ROOT / package).rglob("*.py")
        if {"environ", "getenv"}
        & {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    ]
    assert readers == []
