"""A rebuild wants nothing under way: the workers of this machine are paused, all others must be."""

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

from pipeline.errors import UserError
from pipeline.local.attached import attached_supervisor
from pipeline.local.supervisor import Supervisor
from pipeline.settings import Settings
from sinks.registry import SINKS
from streams.events import STREAMS
from streams.groups import committed_offsets, members_of
from streams.lag import topic_lags
from streams.topics import CLEAN_EVENTS, CLEAN_PRODUCTS, PROCESS_GROUP, SINK_GROUP, raw_topic

RAW: Final = tuple(raw_topic(stream) for stream in STREAMS)
SOURCES: Final = frozenset({"ingest"})
WORKERS: Final = frozenset({"process", "sink", "gold"})
DRAIN_SECONDS: Final = 600.0
LEAVE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.5
HOW_TO_STOP: Final = (
    "stop the ingest workers, wait until `pipeline status` shows nothing waiting in Kafka, stop the process "
    "and sink workers and gold, and run this again"
)


@contextmanager
def quiet(
    settings: Settings, say: Callable[[str], None], leave_seconds: float = LEAVE_SECONDS
) -> Iterator[None]:
    """Hold the pipeline still while the block runs: everything in Kafka is worked off, no worker runs.

    Workers of a local platform are stopped, the source first, and started again afterwards. What arrives
    meanwhile waits on Kinesis.

    Args:
        settings: of the pipeline.
        say: takes one line about what goes on.
        leave_seconds: how long to wait for workers to leave that were stopped, or killed, a moment ago.

    Raises:
        UserError: workers run elsewhere, or something is not worked off.
    """
    supervisor = attached_supervisor(settings)
    if supervisor is None:
        _require_quiet(settings, leave_seconds)
        yield
        return
    paused = _Paused(settings, supervisor)
    try:
        if paused.stop(SOURCES) | paused.running(WORKERS):
            say("pausing the workers")
        if paused.running(WORKERS):
            _wait_through(settings)
        paused.stop(WORKERS)
        _require_quiet(settings, leave_seconds)
        yield
    finally:
        if paused.start():
            say("the workers go on")


class _Paused:
    """The programs of a local platform that are stopped for now; a file says so, should this process die."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._file = settings.home / "run" / "paused.json"
        self._names: set[str] = set()
        if self._file.exists():  # of one that was killed
            self._names.update(json.loads(self._file.read_text()))

    def running(self, kinds: Collection[str]) -> set[str]:
        """Give the running programs of some kinds: what stands before the first hyphen of their names."""
        states = self._supervisor.states()
        return {name for name, state in states.items() if state.is_running and name.split("-")[0] in kinds}

    def stop(self, kinds: Collection[str]) -> set[str]:
        """Stop the programs of some kinds, and give their names."""
        names = self.running(kinds)
        self._names |= names
        self._file.write_text(json.dumps(sorted(self._names)))
        self._supervisor.stop_programs(names)
        return names

    def start(self) -> set[str]:
        """Start what is stopped, and give the names."""
        for name in sorted(self._names, reverse=True):
            self._supervisor.start_program(name)
        self._file.unlink(missing_ok=True)
        return self._names


def is_through(settings: Settings) -> bool:
    """Say whether everything in Kafka is worked off; what no group has read yet of raw topics may wait.

    Raises:
        KafkaUnreachableError: no broker answers.
    """
    raw = [committed_offsets(settings.kafka, group, RAW) for group in (PROCESS_GROUP, SINK_GROUP)]
    after = [topic for topic in SINKS if topic not in RAW]
    clean = (CLEAN_EVENTS, CLEAN_PRODUCTS)
    return (
        raw[0] == raw[1]
        and not any(hop.lag for hop in topic_lags(settings.kafka, PROCESS_GROUP, clean))
        and not any(hop.lag for hop in topic_lags(settings.kafka, SINK_GROUP, after))
    )


def _wait_through(settings: Settings) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while not is_through(settings):
        if time.monotonic() > deadline:
            raise UserError(
                f"the workers are not through after {DRAIN_SECONDS:.0f} s: see `pipeline status`, and run "
                f"this again"
            )
        time.sleep(POLL_SECONDS)


def _require_quiet(settings: Settings, leave_seconds: float) -> None:
    deadline = time.monotonic() + leave_seconds
    for group in (PROCESS_GROUP, SINK_GROUP):
        while (members := members_of(settings.kafka, group)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if members:
            raise UserError(f"{members} workers of {group} are running: {HOW_TO_STOP}")
    if not is_through(settings):
        raise UserError(f"not everything in Kafka is worked off, so bronze lacks some of it: {HOW_TO_STOP}")
