"""What must not move while silver is rebuilt: workers of this machine are paused, all others must be stopped.

Everything that stages have merged has to be in bronze, or a rebuilt state would lack it for ever. What waits
in front of stages and sinks may wait: it is merged again later, and finds itself there already.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from pipeline.errors import UserError
from pipeline.local.attached import attached_supervisor, paused_file, read_paused, rebuilding
from pipeline.local.supervisor import Supervisor
from pipeline.locks import CORRECTIONS
from pipeline.settings import Settings
from sinks.registry import SINKS
from streams.engine.crash import EXIT_OPERATOR
from streams.events import STREAMS
from streams.groups import committed_offsets, members_of
from streams.lag import topic_lags
from streams.topics import CLEAN_EVENTS, CLEAN_PRODUCTS, PROCESS_GROUP, SINK_GROUP, raw_topic

RAW: Final = tuple(raw_topic(stream) for stream in STREAMS)
SOURCES: Final = frozenset({"ingest"})
STAGES: Final = frozenset({"process"})
READERS: Final = frozenset({"sink", "gold"})
WAIT_SECONDS: Final = 600.0
LEAVE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.5


@contextmanager
def quiet(
    settings: Settings,
    say: Callable[[str], None],
    *,
    drained: bool = False,
    leave_seconds: float = LEAVE_SECONDS,
    wait_seconds: float = WAIT_SECONDS,
) -> Iterator[None]:
    """Hold the pipeline still while the block runs: no worker runs, and bronze has all that was merged.

    Workers of a local platform are stopped, in an order that leads there, and started again afterwards.

    Args:
        settings: of the pipeline.
        say: takes one line about what goes on.
        drained: everything in Kafka is also worked off, and nothing new comes: a part of what goes on is to
            be corrected, or topics are to be deleted.
        leave_seconds: how long to wait for workers to leave that were stopped, or killed, a moment ago.
        wait_seconds: how long to wait for the platform's workers to work off what they have to.

    Raises:
        UserError: another rebuild runs, workers run elsewhere, or bronze or the stages are behind; the
            message says what to do.
    """
    with _alone(settings):
        supervisor = attached_supervisor(settings)
        if supervisor is None:
            _require_quiet(settings, drained=drained, leave_seconds=leave_seconds)
            yield
            return
        with (
            rebuilding(settings.home),
            _paused(
                settings,
                supervisor,
                say,
                drained=drained,
                leave_seconds=leave_seconds,
                wait_seconds=wait_seconds,
            ),
        ):
            yield


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the lock of rebuilds before any worker is paused: one pauses and starts them at a time."""
    with psycopg.connect(settings.postgres_url.get_secret_value(), autocommit=True) as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (CORRECTIONS,)).fetchone()
        if row != (True,):
            raise UserError("another rebuild is running, or a replay of dead letters: wait for its end")
        yield


@contextmanager
def _paused(
    settings: Settings,
    supervisor: Supervisor,
    say: Callable[[str], None],
    *,
    drained: bool,
    leave_seconds: float,
    wait_seconds: float,
) -> Iterator[None]:
    paused = PausedPrograms(settings, supervisor)
    try:
        if paused.running(STAGES | READERS):
            say("pausing the workers")
        if drained:
            paused.stop(SOURCES)
            if paused.running(STAGES) and paused.running(READERS):
                _wait(lambda: is_drained(settings), wait_seconds)
        paused.stop(STAGES)
        if "sink" in {name.split("-")[0] for name in paused.running(READERS)}:
            _wait(lambda: bronze_has_all(settings), wait_seconds)
        paused.stop(READERS)
        _require_quiet(settings, drained=drained, leave_seconds=leave_seconds)
        yield
    finally:
        try:
            started = paused.start()
        except OSError:  # as it does when the platform is stopped meanwhile
            say("the platform does not run any more: its next start starts the workers")
        else:
            if started:
                say("the workers go on")


def bronze_has_all(settings: Settings) -> bool:
    """Say whether everything that the stages have read is in bronze.

    Raises:
        KafkaUnreachableError: no broker answers.
    """
    read = committed_offsets(settings.kafka, PROCESS_GROUP, RAW)
    stored = committed_offsets(settings.kafka, SINK_GROUP, RAW)
    return all(stored[place] >= offset for place, offset in read.items())


def is_drained(settings: Settings) -> bool:
    """Say whether everything in Kafka is worked off, by stages and by sinks.

    Raises:
        KafkaUnreachableError: no broker answers.
    """
    stages = topic_lags(settings.kafka, PROCESS_GROUP, (*RAW, CLEAN_EVENTS, CLEAN_PRODUCTS))
    # In this order: what the stages send is the sinks' to write.
    return not any(hop.lag for hop in stages) and not any(
        hop.lag for hop in topic_lags(settings.kafka, SINK_GROUP, SINKS)
    )


class PausedPrograms:
    """The programs of a local platform that are stopped for now; a file says so, should this process die."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._file = paused_file(settings.home)
        self._names = read_paused(settings.home)  # of one that was killed

    def running(self, kinds: Collection[str]) -> set[str]:
        """Give the running programs of some kinds: what stands before the first hyphen of their names."""
        states = self._supervisor.states()
        return {name for name, state in states.items() if state.is_running and name.split("-")[0] in kinds}

    def stop(self, kinds: Collection[str]) -> set[str]:
        """Stop the programs of some kinds, and give their names."""
        names = self.running(kinds)
        self._note(names)
        self._supervisor.stop_programs(names)
        return names

    def start(self) -> set[str]:
        """Start what is stopped, and what has refused the state as it was; give the names.

        They stay on file until the last of them is started: an interruption leaves them to the next rebuild.
        """
        states = self._supervisor.states()
        self._note({name for name, state in states.items() if state.exit_code == EXIT_OPERATOR})
        names = self._names & states.keys()
        for name in sorted(names, reverse=True):
            self._supervisor.start_program(name)
        self._file.unlink(missing_ok=True)
        return names

    def _note(self, names: Collection[str]) -> None:
        self._names |= set(names)
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(sorted(self._names)))
        unfinished.replace(self._file)


def _wait(reached: Callable[[], bool], seconds: float) -> None:
    """Wait for something, or in vain: whether all is as it has to be is looked at afterwards."""
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _require_quiet(settings: Settings, *, drained: bool, leave_seconds: float) -> None:
    deadline = time.monotonic() + leave_seconds
    for group, how in (
        (PROCESS_GROUP, "stop them (ingest may go on)"),
        (SINK_GROUP, "when they have caught up with the raw topics (`pipeline status`), stop them"),
    ):
        while (members := members_of(settings.kafka, group)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if members:
            raise UserError(f"{members} workers of {group} are running: {how}, and run this again")
    if not bronze_has_all(settings):
        raise UserError(
            "bronze lacks some of what the stages have read: start `pipeline sink` until it has caught up "
            "with the raw topics (`pipeline status`), stop it, and run this again"
        )
    if drained and not is_drained(settings):
        raise UserError(
            "not everything in Kafka is worked off: stop the ingest workers, let `pipeline process` and "
            "`pipeline sink` run until `pipeline status` shows nothing waiting, stop them, and run this "
            "again. If they cannot run, rebuild everything"
        )
