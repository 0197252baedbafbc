import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.local import launch


def test_pauses_grow_from_the_second_failure_to_a_limit() -> None:
    assert [launch.pause_seconds(quick) for quick in range(8)] == [0, 0, 1, 2, 4, 8, 15, 15]


@pytest.mark.parametrize(
    ("last", "now", "quick"),
    [
        ({}, 100.0, 0),
        ({"at": 100.0, "quick": 0}, 101.0, 1),
        ({"at": 100.0, "quick": 3}, 119.0, 4),
        ({"at": 100.0, "quick": 3}, 121.0, 0),
    ],
)
def test_starts_in_a_row_count_until_the_program_lasted(
    last: dict[str, float], now: float, quick: int
) -> None:
    assert launch.count_quick_starts(last, now) == quick


def test_it_becomes_the_program_in_its_folder_and_pauses_when_that_fails(tmp_path: Path) -> None:
    program = tmp_path / "some.json"
    code = "import os, sys; print(os.getpid(), os.getcwd()); sys.exit(3)"
    program.write_text(json.dumps({"command": [sys.executable, "-c", code], "directory": str(tmp_path)}))
    seconds = []
    for _ in range(3):
        begun = time.monotonic()
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, str(program)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        output, _ = started.communicate(timeout=30)
        seconds.append(time.monotonic() - begun)
        assert output == f"{started.pid} {tmp_path}\n"
        assert started.returncode == 3
    assert seconds[2] >= 1
