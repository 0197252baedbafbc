import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.clock import (
    DAY,
    HOUR,
    ClockJumps,
    check_works,
    compile_waits,
    faked,
    find_library,
    jump_words,
    true_offset,
)
from tests.faults.entry import CLOCK_FILE
from tests.faults.fault import SkippedError
from tests.faults.run import run_faults

# A condition that nobody signals, waited for until an instant of the wall clock; 4 is `thrd_timedout`.
WAIT = """
import ctypes, sys, time
condition, mutex = ctypes.create_string_buffer(256), ctypes.create_string_buffer(256)
libc = ctypes.CDLL(None)
libc.cnd_init(condition), libc.mtx_init(mutex, 0), libc.mtx_lock(mutex)
class Instant(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]
at = time.time() + float(sys.argv[1])
instant, began = Instant(int(at), int(at % 1 * 1e9)), time.monotonic()
print("waiting", flush=True)
while libc.cnd_timedwait(condition, mutex, ctypes.byref(instant)) != 4:
    pass
print(time.monotonic() - began)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a process whose clock can be set."""
    try:
        made = faked((compile_waits(tmp_path), find_library()), tmp_path / "clock")
        check_works(made)
    except SkippedError as reason:
        pytest.skip(str(reason))
    return made


def waited(environment: dict[str, str], seconds: float, offset: int, then: int) -> float:
    """Give how long a process waits that is to do so for some seconds, when its clock jumps meanwhile."""
    clock = Path(environment[CLOCK_FILE])
    clock.write_text(f"{offset:+d}\n")
    command = [sys.executable, "-c", WAIT, str(seconds)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        clock.write_text(f"{then:+d}\n")
        return float(process.stdout.read())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (HOUR, "an hour forward"),
        (-HOUR, "an hour back"),
        (DAY, "a day forward"),
        (-2 * DAY, "2 days back"),
        (3 * HOUR, "3 hours forward"),
    ],
)
def test_a_jump_is_named_by_its_size_and_way(seconds: int, words: str) -> None:
    assert jump_words(seconds) == words


def test_a_clock_that_is_not_off_is_told_from_one_that_is() -> None:
    here = time.time() - time.monotonic()
    assert true_offset(here) == pytest.approx(0, abs=1)
    assert true_offset(here - DAY) == pytest.approx(-DAY, abs=1)


@pytest.mark.parametrize("offset", [DAY, -DAY])
def test_a_wait_takes_as_long_under_a_clock_that_is_off(environment: dict[str, str], offset: int) -> None:
    assert 0.2 < waited(environment, 0.3, offset, offset) < 5


def test_a_wait_lasts_as_much_longer_as_the_clock_is_set_back(environment: dict[str, str]) -> None:
    assert 2.0 < waited(environment, 0.3, 0, -2) < 10


def test_a_wait_ends_when_the_clock_is_set_past_its_end(environment: dict[str, str]) -> None:
    assert waited(environment, 60, 0, 90) < 10


def test_a_library_that_sets_no_clock_off_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(SkippedError, match="does not work"):
        check_works(faked((tmp_path / "none.so",), tmp_path / "clock"))


def test_where_nothing_can_be_compiled_the_fault_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    said: list[str] = []
    (row,) = run_faults([ClockJumps("clock jumps", "daemon")], 1, say=said.append).rows
    assert (row.fault, row.skipped) == ("clock jumps", "there is no C compiler here")
    assert said == ["clock jumps: skipped, there is no C compiler here"]
