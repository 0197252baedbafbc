"""What a rebuild has stopped is started again, or known to be stopped; with a real supervisor."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.commands.status import why_in_vain
from pipeline.errors import UserError
from pipeline.local.attached import (
    Stopped,
    paused_file,
    rebuild_is_running,
    rebuilding,
    stopped_workers,
    stopping_file,
    why_stopped,
)
from pipeline.local.programs import Program, write_supervisor_configuration
from pipeline.local.supervisor import State, Supervisor, socket_path
from pipeline.rebuild.quiet import STAGES, PausedPrograms
from pipeline.settings import Settings

LINGER = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), time.sleep(1.5), sys.exit(0)))\n"
    "print('here', flush=True)\n"
    "while True: time.sleep(1)"
)


class Local:
    """A supervisor in a home, with a worker that takes its time to stop, and two others."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self.home = home
        codes = {
            "process": LINGER,
            "sink": "import time; time.sleep(1000)",
            "gold": "import sys; sys.exit(78)",
        }
        programs = [
            Program(name, [sys.executable, "-c", code], directory=Path("/"), stop_seconds=10)
            for name, code in codes.items()
        ]
        (home / "run").mkdir(parents=True)
        (home / "logs").mkdir()
        configuration, socket = home / "run" / "supervisord.conf", socket_path(home)
        write_supervisor_configuration(configuration, programs, socket=socket, run=home / "run")
        self.supervisor = Supervisor(configuration, socket)
        self.supervisor.start(os.environ, home / "logs" / "supervisord.out")

    def state(self, name: str) -> State:
        return self.supervisor.states()[name]

    def start(self, name: str) -> int:
        self.supervisor.start_program(name)
        if name == "process":
            self.wait(lambda: self.said("here"))
        return self.state(name).pid

    def said(self, word: str) -> bool:
        log = self.home / "logs" / "process.log"
        return log.exists() and word in log.read_text()

    def wait(self, reached: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(200):
            if reached():
                return
            pause.wait(0.05)
        pytest.fail("waited in vain")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    started = Local(tmp_path / "home")
    yield started
    started.supervisor.shutdown()


def test_a_program_that_is_being_stopped_is_started_when_it_is_gone(local: Local) -> None:
    before = local.start("process")
    stopping = threading.Thread(target=local.supervisor.stop_programs, args=(["process"],))
    stopping.start()
    local.wait(lambda: local.state("process").state == "STOPPING")
    local.supervisor.start_program("process")
    stopping.join()
    assert local.state("process").pid not in {0, before}


def test_a_rebuild_that_is_interrupted_while_it_stops_a_worker_starts_it_again(local: Local) -> None:
    before = local.start("process")

    class Interrupting(Supervisor):
        def stop_programs(self, names: Iterable[str], while_waiting: object = None) -> None:
            assert while_waiting is None

            def interrupt() -> None:
                raise KeyboardInterrupt

            super().stop_programs(names, interrupt)

    supervisor = Interrupting(local.home / "run" / "supervisord.conf", socket_path(local.home))
    paused = PausedPrograms(local.settings, supervisor)
    with pytest.raises(KeyboardInterrupt):
        paused.stop(STAGES)
    assert local.state("process").state == "STOPPING"
    assert paused.start() == {"process"}
    assert local.state("process").pid not in {0, before}
    assert not paused_file(local.home).exists()


def test_what_an_interruption_has_left_is_started_by_the_next_rebuild_and_shown_until_then(
    local: Local,
) -> None:
    local.start("process")
    local.start("sink")

    class Dying(Supervisor):
        def start_program(self, name: str) -> None:
            if name == "process":
                raise KeyboardInterrupt
            super().start_program(name)

    paused = PausedPrograms(
        local.settings, Dying(local.home / "run" / "supervisord.conf", socket_path(local.home))
    )
    with rebuilding(local.home):
        paused.stop({"process", "sink"})
        stopped = stopped_workers(local.settings)
        assert stopped["process"] == Stopped("paused by a rebuild that is running", True, True)
        assert why_in_vain(stopped) is None
        with pytest.raises(KeyboardInterrupt):
            paused.start()
    stopped = stopped_workers(local.settings)
    assert stopped.keys() == {"process"}
    assert "run `pipeline rebuild` again" in stopped["process"].why
    assert "process does not run" in (why_in_vain(stopped) or "")
    PausedPrograms(local.settings, local.supervisor).start()
    assert local.state("process").is_running
    assert stopped_workers(local.settings) == {}


def test_what_refuses_the_state_is_started_after_a_rebuild_and_what_is_gone_passed_over(local: Local) -> None:
    local.start("gold")
    local.wait(lambda: local.state("gold").state == "EXITED")
    before = local.state("gold").started_at
    paused_file(local.home).write_text('["produce"]')
    local.wait(lambda: local.state("gold").started_at < int(time.time()))
    assert PausedPrograms(local.settings, local.supervisor).start() == {"gold"}
    assert local.state("gold").started_at > before
    assert not paused_file(local.home).exists()


def test_a_worker_that_somebody_stopped_is_shown_but_not_while_the_platform_stops_itself(
    local: Local,
) -> None:
    assert stopped_workers(local.settings) == {}
    local.start("sink")
    local.supervisor.stop_programs(["sink"])
    assert stopped_workers(local.settings)["sink"].why.startswith("stopped, not by `pipeline up`")
    stopping_file(local.home).touch()
    assert stopped_workers(local.settings) == {}


def test_one_rebuild_at_a_time_is_running_and_none_when_its_process_is_gone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with rebuild_is_running(tmp_path) as is_running:
        assert not is_running
    with rebuilding(tmp_path), rebuild_is_running(tmp_path) as is_running:
        assert is_running
    with rebuild_is_running(tmp_path) as is_running:
        assert not is_running


def test_a_rebuild_is_refused_while_another_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("pipeline.local.attached.LOOK_SECONDS", 0.2)
    with (
        rebuilding(tmp_path),
        pytest.raises(UserError, match="another rebuild is running"),
        rebuilding(tmp_path),
    ):
        pytest.fail("two at a time")


@pytest.mark.parametrize(
    ("state", "exit_code", "paused", "is_rebuilding", "why", "comes_back"),
    [
        ("EXITED", 78, False, False, "exited with 78", False),
        ("EXITED", 78, True, True, "the rebuild that is running starts it again", True),
        ("EXITED", 70, False, False, "exited with 70", True),
        ("EXITED", 0, False, False, "ended by somebody", False),
        ("STOPPED", 0, False, False, "stopped, not by", False),
        ("STOPPED", 0, True, False, "paused by a rebuild that was ended", False),
        ("STOPPED", 0, True, True, "paused by a rebuild that is running", True),
        ("FATAL", 0, False, False, "cannot be started", False),
    ],
)
def test_why_a_program_does_not_run(
    state: str, exit_code: int, *, paused: bool, is_rebuilding: bool, why: str, comes_back: bool
) -> None:
    found = why_stopped(
        State("process", state, 0, 1_700_000_000, exit_code),
        paused=paused,
        is_rebuilding=is_rebuilding,
        logs=Path("/l"),
    )
    assert found is not None
    assert why in found.why
    assert found.comes_back == comes_back


@pytest.mark.parametrize(
    "state",
    [
        State("process", "RUNNING", 7, 1, 78),
        State("process", "STOPPING", 7, 1, 0),
        State("process", "STOPPED", 0, 0, 0),  # never started
        State("process", "BACKOFF", 0, 1, 0),
        State("produce", "EXITED", 0, 1, 0),
    ],
)
def test_what_runs_or_was_never_started_or_is_done_does_not_stand_still(state: State) -> None:
    assert why_stopped(state, paused=False, is_rebuilding=False, logs=Path("/l")) is None


def test_what_nobody_starts_is_waited_for_in_vain_unless_nothing_waits_for_it() -> None:
    for_ever, for_now = Stopped("exited with 78", comes_back=False), Stopped("exited", comes_back=True)
    assert why_in_vain({"process": for_now, "gold": for_ever, "produce": for_ever}) is None
    assert why_in_vain({"process": for_now, "sink": for_ever}) == "sink does not run (exited with 78)"
