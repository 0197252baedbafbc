import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Never

import psutil
import pytest

from pipeline.errors import LocalError
from pipeline.local import home as home_module
from pipeline.local import leftovers
from pipeline.local.home import Home, discard, disk_errors

Start = Callable[..., subprocess.Popen[str]]

HOLD = """
import sys, time
from pathlib import Path
from pipeline.local.home import Home
home = Home(Path(sys.argv[1]))
home.take()
print("held", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def start(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        started.append(process)
        assert process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_owner_is_told_who_the_first_is_and_a_killed_one_lets_go(
    tmp_path: Path, start: Start
) -> None:
    first = start(HOLD, str(tmp_path))
    home = Home(tmp_path)
    with pytest.raises(LocalError, match=rf"runs already .process {first.pid}.: stop that one"):
        home.take()
    with pytest.raises(LocalError, match=r"runs already"):
        discard(tmp_path)
    first.kill()
    first.wait()
    home.take()
    assert home.is_ours
    home.release()


def test_leftovers_are_recognised_by_their_home_and_ended(tmp_path: Path, start: Start) -> None:
    sleep = "import time; print('up', flush=True); time.sleep(1000)"
    ours = start(sleep, **{leftovers.MARK: str(tmp_path / "ours")})
    other = start(sleep, **{leftovers.MARK: str(tmp_path / "other")})
    stubborn = start(f"import signal; signal.signal(15, signal.SIG_IGN); {sleep}")
    found = leftovers.find_leftovers(tmp_path / "ours")
    assert [process.pid for process in found] == [ours.pid]
    leftovers.end(found)
    assert ours.wait(timeout=5) == -15
    assert other.poll() is None
    leftovers.end([psutil.Process(stubborn.pid)], term_seconds=0.2)
    assert stubborn.wait(timeout=5) == -9


def test_endpoints_are_written_for_us_alone_and_ports_are_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.read_endpoints() == {}
    home.write_endpoints({"kafka_bootstrap": "127.0.0.1:1", "postgres_url": "u"}, {"kafka": 1, "postgres": 2})
    home.write_endpoints({"kafka_bootstrap": "127.0.0.1:3"}, {"kafka": 3})
    assert home.read_endpoints() == {
        "kafka_bootstrap": "127.0.0.1:3",
        "ports": {"kafka": 3, "postgres": 2},
    }
    assert (tmp_path / "endpoints.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_broken_endpoints_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "endpoints.json").write_text(text)
    assert Home(tmp_path).read_endpoints() == {}


def test_discard_takes_what_is_the_platforms_and_leaves_the_rest(tmp_path: Path) -> None:
    for name in ("kafka/data/x", "postgres/password", "mine/precious"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps(name))
    assert discard(tmp_path) == ["kafka", "logs", "postgres", "run"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert discard(tmp_path / "never") == []


def test_a_nearly_full_disk_is_refused_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_module, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(LocalError, match=r"MB are free.*make room"):
        Home(tmp_path).check_disk()


@pytest.mark.parametrize(("number", "said"), [(28, "full"), (13, "cannot be written"), (30, "PIPELINE_HOME")])
def test_a_disk_that_refuses_is_one_line(tmp_path: Path, number: int, said: str) -> Never:
    with pytest.raises(LocalError, match=said) as caught, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number), "some/file")
    assert "\n" not in str(caught.value)


def test_a_home_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match=r"cannot be written"):
        Home(tmp_path / "file" / "home").take()
