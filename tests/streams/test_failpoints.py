import ast
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import Settings, SettingsError, load_settings
from streams import failpoints
from streams.failpoints import NAMES, FailpointError, Plan, Strike, failpoint, parse

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def run(code: str) -> "subprocess.CompletedProcess[str]":
    program = f"from streams import failpoints\nfrom streams.failpoints import failpoint\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_each_name_is_passed_in_exactly_one_place_and_no_other_is() -> None:
    found: Counter[object] = Counter()
    for package in ("streams", "processors", "sinks", "producer", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "failpoint":
                    found[node.args[0].value if isinstance(node.args[0], ast.Constant) else path] += 1
    assert found == Counter(NAMES.keys())


def test_an_armed_point_kills_at_the_time_it_names() -> None:
    done = run(
        "failpoints.arm('batch.after_done=kill@3')\n"
        "for n in range(1, 9):\n"
        "    print(n, flush=True)\n"
        "    failpoint('batch.before_done')\n"
        "    failpoint('batch.after_done')"
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["1", "2", "3"]
    assert "failpoint batch.after_done, time 3: SIGKILL" in done.stderr


def test_a_process_that_stops_itself_goes_on_when_told_to() -> None:
    program = (
        "from streams import failpoints\n"
        "failpoints.arm('commit.before=stop')\nfailpoints.failpoint('commit.before')\nprint('on')"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    stat = Path(f"/proc/{process.pid}/stat")
    if not stat.exists():
        process.kill()
        process.wait()
        pytest.skip("the system has no /proc")
    deadline = time.monotonic() + 20
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=20)[0] == "on\n"


def test_what_is_passed_is_written_down_once(tmp_path: Path) -> None:
    passed = tmp_path / "passed"
    failpoints.arm(f"record={passed}")
    for name in ("commit.before", "commit.after", "commit.before"):
        failpoint(name)
    assert passed.read_text() == "commit.before\ncommit.after\n"


def test_nothing_happens_at_points_that_are_not_armed() -> None:
    for name in NAMES:
        failpoint(name)
    failpoints.arm("commit.before=kill@2")
    failpoint("commit.before")
    failpoint("commit.after")


def test_points_are_read_as_written() -> None:
    assert parse("") == Plan()
    assert parse(" commit.before=stop, sink.before_write=kill@12,record=/tmp/x") == Plan(
        (Strike("commit.before", signal.SIGSTOP, 1), Strike("sink.before_write", signal.SIGKILL, 12)),
        Path("/tmp/x"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("commit.befor=kill", "there is no failpoint 'commit.befor'"),
        ("commit.before", "'commit.before' is not like commit.before=kill"),
        ("commit.before=die", "is not like"),
        ("commit.before=kill@0", "is not like"),
        ("commit.before=kill@x", "is not like"),
        ("record=", "there is no failpoint 'record'"),
    ],
)
def test_what_cannot_be_armed_is_refused_with_what_could(text: str, message: str) -> None:
    with pytest.raises(FailpointError, match=re.escape(message)):
        parse(text)


def test_settings_refuse_a_wrong_name_and_any_point_outside_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_FAILPOINTS", "nowhere=kill")
    with pytest.raises(SettingsError, match=r"PIPELINE_FAILPOINTS: .*no failpoint 'nowhere'"):
        load_settings(_env_file=None)
    monkeypatch.setenv("PIPELINE_FAILPOINTS", "commit.before=kill")
    assert Settings(_env_file=None).failpoints == "commit.before=kill"
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "prod")
    monkeypatch.setenv("PIPELINE_EMAIL_HASH_SECRET", "own")
    with pytest.raises(SettingsError, match="must not be set outside dev"):
        load_settings(_env_file=None)
