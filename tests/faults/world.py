"""A whole local pipeline in a home of its own, that faults can strike, and what judges it afterwards."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import psutil
import psycopg
from confluent_kafka import KafkaException

from pipeline.errors import CONFIGURATION, UserError
from pipeline.local.platform import LocalPlatform
from pipeline.local.ports import free_port
from pipeline.local.programs import Program
from pipeline.prepare import make_topics, migrate_database, prepare_readers
from pipeline.reconcile import oracle_config, reconcile
from pipeline.settings import Settings
from pipeline.status import PROCESSED, RAW, SUNK, kinesis_hops, wait_idle
from pipeline.verify import check_conservation
from streams.events import STREAMS, Stream
from streams.topics import CLEAN_EVENTS, CLEAN_LOGS, CLEAN_PRODUCTS, DEAD_LETTERS, PROCESS_GROUP, SINK_GROUP
from tests.faults.entry import ENVIRONMENT, START
from tests.faults.groups import Group
from tests.faults.kinesis import KinesisStreams
from tests.faults.report import Hit, Verdict
from tests.faults.shop import Feed, RawTopics, Sender, shop_records

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
SESSION_SECONDS = 4.0
THROUGH_SECONDS = 240.0
DEATH_SECONDS = 60.0
RECOVERY_SECONDS = 120.0
SLOW_SECONDS = 15.0
LEAST_RECOVERY_POLL_SECONDS = 0.2
BY_DAEMON: Stream = "product-events"
IN_PROCESS = tuple(stream for stream in STREAMS if stream != BY_DAEMON)
Kind = Literal["raw", "in-process", "daemon"]
"""How events come in: on the raw topics, or by Kinesis and ingest workers, Amazon's daemon among them."""
INGESTS: Mapping[Kind, Sequence[str]] = {
    "raw": (),
    "in-process": ("ingest",),
    "daemon": ("ingest", "ingest-daemon"),
}
DONE_POINTS = {"batch.after_done", "ingest.after_acknowledgement"}
_EXIT = re.compile(r"exited: (\S+) \((.*?)[;)]")


class FaultError(Exception):
    """A fault did not strike as it should have, or the pipeline did not come through; says which and how."""


class Place(Protocol):
    """Where records wait for a kind of worker."""

    def waiting(self) -> dict[Any, int]:
        """Give where it stands, by part, in the parts where records wait."""

    def has_moved(self, before: Mapping[Any, int]) -> bool:
        """Whether it is further in each of these parts."""


class KinesisPlace:
    """Streams that wait to be copied, as one kind of ingest reads them."""

    def __init__(self, settings: Settings, streams: Sequence[Stream], raw: Group) -> None:
        self._settings = settings
        self._streams = streams
        self._raw = raw

    def waiting(self) -> dict[Any, int]:
        """Give by stream how many records are on its raw topic, where more wait on Kinesis."""
        try:
            hops = kinesis_hops(self._settings)
            counts = self._counts()
        except (UserError, KafkaException):
            return {}
        return {hop.stream: counts[hop.stream] for hop in hops if hop.waiting and hop.stream in self._streams}

    def has_moved(self, before: Mapping[Any, int]) -> bool:
        """Whether each of the streams has more on its raw topic."""
        try:
            counts = self._counts()
        except KafkaException:
            return False
        return all(counts[stream] > count for stream, count in before.items())

    def _counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for (topic, _), end in self._raw.ends().items():
            counts[topic.removeprefix("raw.")] += end
        return counts


def program(name: str, *arguments: str) -> Program:
    """Describe a worker that the harness can make suffer."""
    command = [sys.executable, "-m", "tests.faults.entry", name, *arguments]
    return Program(name, command, directory=ROOT)


class World:
    """The pipeline, and everything done to it. A context manager.

    Args:
        home: an empty folder.
        seed: of the events.
        kind: see `Kind`.
        say: takes one line about what goes on.
    """

    def __init__(
        self, home: Path, seed: int, kind: Kind = "raw", *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.home = home.resolve()
        self.say = say
        self.kind = kind
        self.seed = seed
        self.hits: list[Hit] = []
        self.figures: dict[str, str] = {}
        self.captured = 0
        self.ledgers = [self.home / "ledger" / "feed.jsonl"]
        self._lock = threading.Lock()
        self._began = time.monotonic()
        settings = Settings(
            _env_file=None,
            home=self.home,
            kafka_port=free_port(),
            postgres_port=free_port(),
            kinesis_port=free_port(),
            partitions=PARTITIONS,
            session_timeout_seconds=SESSION_SECONDS,
        )
        in_process = IN_PROCESS if kind == "daemon" else STREAMS
        ingests = {
            "ingest": program("ingest", "ingest", "--in-process", *in_process),
            "ingest-daemon": program("ingest-daemon", "ingest", BY_DAEMON),
        }
        self.ingests = INGESTS[kind]
        self.programs = [
            *(ingests[name] for name in self.ingests),
            *(program(name, "process") for name in ("process", "process-2")),
            *(program(name, "sink") for name in ("sink", "sink-2")),
        ]
        self.platform = LocalPlatform(settings, self.programs)
        self.settings = settings
        self._in_process = in_process

    def __enter__(self) -> Self:
        folder = self.home / "faults"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ENVIRONMENT).write_text(
            json.dumps(
                {
                    "PIPELINE_PARTITIONS": str(PARTITIONS),
                    "PIPELINE_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
                }
            )
        )
        self.platform.start()
        try:
            self._prepare()
        except BaseException:
            self.platform.stop()
            raise
        return self

    def _prepare(self) -> None:
        self.settings = self.platform.settings
        migrate_database(self.settings)
        prepare_readers(self.settings)
        make_topics(self.settings)
        kafka = self.settings.kafka
        self._raw = Group(kafka, "nobody", RAW, PARTITIONS)
        self.groups = {
            "process": Group(kafka, PROCESS_GROUP, PROCESSED, PARTITIONS),
            "sink": Group(kafka, SINK_GROUP, SUNK, PARTITIONS),
        }
        self._clean = Group(
            kafka, "nobody", (CLEAN_EVENTS, CLEAN_PRODUCTS, CLEAN_LOGS, DEAD_LETTERS), PARTITIONS
        )
        self.places: dict[str, Place] = {
            **self.groups,
            "ingest": KinesisPlace(self.settings, self._in_process, self._raw),
            "ingest-daemon": KinesisPlace(self.settings, (BY_DAEMON,), self._raw),
        }
        self._wait_for_leaders()
        self.feed = Feed(self._sender(), shop_records(self.seed))

    def __exit__(self, *_: object) -> None:
        for one in self.home.glob("faults/*/hold"):
            one.unlink()
        self.feed.close()
        for group in (*self.groups.values(), self._clean, self._raw):
            group.close()
        self.platform.stop()

    def _wait_for_leaders(self) -> None:
        """Wait until each partition answers: a topic that was just made has no leader yet."""
        deadline = time.monotonic() + 30
        for group in (*self.groups.values(), self._clean):
            while group.lag() < 0:
                if time.monotonic() > deadline:
                    raise FaultError("Kafka does not answer for the topics that were made")
                time.sleep(0.1)

    def _sender(self) -> Sender:
        if self.ingests:
            return KinesisStreams(self.settings, self.ledgers[0])
        return RawTopics(self.settings.kafka, self.ledgers[0])

    def sender_to(self, endpoint: str) -> Sender:
        """Give a sender to another address of Kinesis, with the same ledger."""
        return KinesisStreams(
            self.settings.model_copy(update={"kinesis_endpoint": endpoint}), self.ledgers[0]
        )

    def sender_behind(self) -> Sender:
        """Give a sender behind Kinesis, with the same ledger."""
        return RawTopics(self.settings.kafka, self.ledgers[0])

    # -- programs

    def start(self, *names: str) -> None:
        """Start programs; those that run are left alone."""
        for name in names:
            self.no_pause(name)
        self.platform.start_workers(names)

    def stop(self, *names: str) -> None:
        """Stop programs cleanly."""
        for name in names:
            self.platform.stop_worker(name)

    def no_pause(self, name: str) -> None:
        """Have the next start be at once: the launcher pauses after quick failures, these are ours."""
        (self.platform.run / f"{name}.starts").unlink(missing_ok=True)

    def pid(self, name: str, seconds: float = 60) -> int:
        """Give the process of a program; wait until there is one."""
        deadline = time.monotonic() + seconds
        while not (pid := self.platform.states()[name].pid):
            if time.monotonic() > deadline:
                raise FaultError(f"{name} does not run: see {self.platform.log_file(name)}")
            time.sleep(0.05)
        return pid

    def folder(self, name: str) -> Path:
        """Give where a program finds what it is to suffer."""
        folder = self.home / "faults" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def order(self, name: str, points: str) -> None:
        """Arm failpoints for the next start of a program."""
        unfinished = self.folder(name) / "order.new"
        unfinished.write_text(points)
        unfinished.rename(self.folder(name) / "order")

    def is_armed(self, name: str) -> bool:
        """Whether its order has been taken."""
        return not (self.folder(name) / "order").exists()

    def patch(self, name: str, patch: str | None) -> None:
        """Break a step of a program from its next start on, or mend it."""
        path = self.folder(name) / "patch"
        if patch is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(patch)

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Let a program not start again, meanwhile."""
        hold = self.folder(name) / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink(missing_ok=True)

    def passed(self) -> set[str]:
        """Give the failpoints that any program has passed."""
        return {name for path in self.home.glob("faults/*/passed") for name in path.read_text().split()} - {
            START
        }

    def wait_working(self, name: str, seconds: float = 30.0) -> None:
        """Wait until a program has done something since it was last started, but not longer than that."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            passed = self.folder(name) / "passed"
            life = passed.read_text().rpartition(f"{START}\n")[2] if passed.exists() else ""
            if set(life.split()) & DONE_POINTS:
                return
            time.sleep(0.1)

    # -- strikes

    def place_of(self, name: str) -> Place:
        """Give where records wait for a program."""
        return self.places[name if name in self.places else name.partition("-")[0]]

    def kill(self, name: str, *, pid: int | None = None) -> bool:
        """Kill -9 a program (or a process below it) and wait for the next progress.

        Returns:
            whether work was unfinished then; only such a kill is noted.
        """
        pid = pid or self.pid(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self.note_death(name, pid)

    def note_death(self, name: str, pid: int, *, target: str = "") -> bool:
        """Wait until a process is dead and note what was unfinished and how long it stood still."""
        wait_for_death(pid)
        died = time.monotonic()
        self.no_pause(name)
        place = self.place_of(name)
        before = place.waiting()
        if not before:
            self.say(f"{target or name}: nothing was unfinished")
            return False
        recovery = self.wait_moved(name, before, died)
        self.note(target or name, f"{len(before)} parts", recovery)
        return True

    def wait_moved(self, name: str, before: Mapping[Any, int], since: float) -> float:
        """Wait until all parts have moved, and give the seconds since."""
        place = self.place_of(name)
        slow = time.monotonic() + SLOW_SECONDS
        while not place.has_moved(before):
            if slow < time.monotonic() < since + RECOVERY_SECONDS:
                slow = float("inf")
                self.say(f"{name} has stood still for {time.monotonic() - since:.0f} s")
                self.capture()
            if time.monotonic() - since > RECOVERY_SECONDS:
                self.capture()
                raise FaultError(f"{name} has not gone on for {RECOVERY_SECONDS:.0f} s after a fault")
            time.sleep(LEAST_RECOVERY_POLL_SECONDS)
        return time.monotonic() - since

    def note(self, target: str, unfinished: str, recovery_seconds: float | None = None) -> None:
        """Note a strike."""
        hit = Hit(round(time.monotonic() - self._began, 1), target, unfinished, recovery_seconds)
        with self._lock:
            self.hits.append(hit)
        shown = "" if recovery_seconds is None else f", on again after {recovery_seconds:.1f} s"
        self.say(f"{target}: struck with {unfinished} unfinished{shown}")

    def note_all(self, target: str, unfinished: str, count: int) -> None:
        """Note strikes that happened in numbers, and nothing stood still."""
        at = round(time.monotonic() - self._began, 1)
        with self._lock:
            self.hits += [Hit(at, target, unfinished)] * count
        self.say(f"{target}: struck {count} times with {unfinished} unfinished")

    # -- the end

    def settle(self) -> None:
        """Wait until everything sent is through.

        Raises:
            FaultError: it is not, in time, or a worker has given up for an operator.
        """

        def check_workers() -> None:
            for state in self.platform.states().values():
                if state.state == "EXITED" and state.exit_code == CONFIGURATION:
                    raise FaultError(f"{state.name} ended with {state.exit_code} and is not started again")

        if not wait_idle(self.settings, THROUGH_SECONDS, 0.5, meanwhile=check_workers):
            self.capture()
            raise FaultError(f"not everything is through after {THROUGH_SECONDS:.0f} s")

    def judge(self) -> Verdict:
        """Compare silver with the ledgers, and the layers with each other; nothing may be under way."""
        url = self.platform.postgres_url
        ledgers = [ledger for ledger in self.ledgers if ledger.exists()]
        found = reconcile(url, ledgers, oracle_config(self.settings))
        report = check_conservation(url)
        examples = [str(difference) for difference in found.differences[:10]]
        examples += [str(day) for day in report.days if not day.is_conserved][:5]
        examples += [str(pair) for pair in report.agreements if not pair.holds][:5]
        return Verdict(found.lost, found.doubled, found.differing, report.is_conserved, tuple(examples))

    def repeated(self) -> int:
        """Give how many records are on the topics behind cleaning beyond one for each of bronze."""
        written = sum(self._clean.ends().values())
        with psycopg.connect(self.platform.postgres_url) as connection:
            row = connection.execute(
                """
                SELECT (SELECT count(*) FROM bronze.bronze_customer_events)
                    + (SELECT count(*) FROM bronze.bronze_transaction_events)
                    + (SELECT count(*) FROM bronze.bronze_product_events)
                    + (SELECT count(*) FROM bronze.bronze_system_logs)
                    + (SELECT count(*) FROM silver.dead_letters WHERE stage = 'sink')
                """
            ).fetchone()
        return written - (row[0] if row else 0)

    def exits(self) -> Counter[str]:
        """Give how programs have ended so far: `name: how`, as the supervisor says."""
        text = (self.home / "logs" / "supervisord.log").read_text()
        return Counter(f"{name}: {how}" for name, how in _EXIT.findall(text))

    def capture(self) -> None:
        """Write down what the workers are doing, when one seems to hang."""
        self.captured += 1
        folder = self.home / "logs" / f"hang-{self.captured}"
        folder.mkdir()
        for name, state in self.platform.states().items():
            if not state.is_running or not name.startswith(("process", "sink", "ingest")):
                continue
            spy = shutil.which("py-spy", path=str(Path(sys.executable).parent))
            if spy is not None:
                with (folder / f"{name}.txt").open("w") as file:
                    subprocess.run(
                        [spy, "dump", "--pid", str(state.pid)], stdout=file, stderr=file, check=False
                    )
        lags = {name: group.waiting() for name, group in self.groups.items()}
        (folder / "waiting.txt").write_text("\n".join(f"{name}: {lag}" for name, lag in lags.items()))
        self.say(f"what the workers do is in {folder}")


def wait_for_death(pid: int, seconds: float = DEATH_SECONDS) -> None:
    """Wait until a process is gone; a zombie is."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        if time.monotonic() > deadline:
            raise FaultError(f"process {pid} lives on")
        time.sleep(0.02)
