import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.local.programs import Program, default_workers, write_supervisor_configuration
from pipeline.local.supervisor import LONGEST_SOCKET_PATH, Supervisor, socket_path
from streams.events import STREAMS


def script(name: str, code: str) -> Program:
    return Program(name, [sys.executable, "-c", code], directory=Path("/"), stop_seconds=5)


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """One in a folder with a long and awkward name, with programs that do one thing each."""
    home = tmp_path / "a b%c ;d" / ("deep" * 20)
    (home / "run").mkdir(parents=True)
    (home / "logs").mkdir()
    programs = [
        script("stays", "import time; print('here', flush=True); time.sleep(1000)"),
        script("fails", "import sys; sys.exit(3)"),
        script("is-done", "pass"),
        script("refuses", "import sys; sys.exit(78)"),
    ]
    configuration, socket = home / "run" / "supervisord.conf", socket_path(home)
    write_supervisor_configuration(configuration, programs, socket=socket, run=home / "run")
    running = Supervisor(configuration, socket)
    running.start(os.environ, home / "logs" / "supervisord.out")
    yield running
    running.shutdown()
    assert not socket.exists()


def test_nothing_starts_by_itself_and_stop_waits_for_the_end(supervisor: Supervisor, tmp_path: Path) -> None:
    assert {state.state for state in supervisor.states().values()} == {"STOPPED"}
    supervisor.start_program("stays")
    supervisor.start_program("stays")
    pid = supervisor.states()["stays"].pid
    log = next(tmp_path.rglob("stays.log"))
    wait_for(lambda: log.read_text() == "here\n")
    supervisor.stop_programs(["stays", "fails"])
    assert not supervisor.states()["stays"].is_running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_fails_is_started_again_and_what_is_done_or_refuses_is_not(supervisor: Supervisor) -> None:
    for name in ("fails", "is-done", "refuses"):
        supervisor.start_program(name)
    first = supervisor.states()["fails"].pid
    wait_for(lambda: supervisor.states()["fails"].pid not in {0, first})
    wait_for(lambda: supervisor.states()["refuses"].state == "EXITED")
    wait_for(lambda: supervisor.states()["is-done"].state == "EXITED")
    time.sleep(1.5)
    states = supervisor.states()
    assert (states["refuses"].state, states["refuses"].exit_code) == ("EXITED", 78)
    assert (states["is-done"].state, states["is-done"].exit_code) == ("EXITED", 0)


def test_what_is_killed_is_started_again(supervisor: Supervisor) -> None:
    supervisor.start_program("stays")
    wait_for(lambda: supervisor.states()["stays"].is_running)
    first = supervisor.states()["stays"].pid
    os.kill(first, 9)
    wait_for(lambda: supervisor.states()["stays"].pid not in {0, first})


def test_what_is_stopped_and_started_on_purpose_does_not_pause_as_one_does_that_fails(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    for started in range(1, 6):
        supervisor.start_program("stays")
        log = next(tmp_path.rglob("stays.log"))
        wait_for(lambda log=log, started=started: log.read_text() == "here\n" * started, seconds=3)  # type: ignore[misc]  # bound now
        supervisor.stop_programs(["stays"])


def test_a_long_home_gets_a_short_socket() -> None:
    short, long = Path("/srv/home"), Path("/srv") / ("deep" * 30)
    assert socket_path(short) == short / "run" / "supervisor.sock"
    assert len(os.fsencode(socket_path(long))) <= LONGEST_SOCKET_PATH + len("/supervisor.sock")
    assert socket_path(long) != socket_path(long / "other")


def test_the_workers_are_one_reader_for_each_stream_and_the_rest_from_source_to_gold() -> None:
    names = [worker.name for worker in default_workers(gold_every_seconds=30)]
    assert names == [*(f"ingest-{stream}" for stream in STREAMS), "process", "sink", "gold"]
