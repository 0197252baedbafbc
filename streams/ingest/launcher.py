"""Runs Amazon's MultiLangDaemon for one stream and watches it, until it is told to stop."""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock, Timeout

from streams.events import Stream
from streams.ingest import daemon
from streams.ingest.child import ChildConfig
from streams.ingest.leases import LeaseTable
from streams.ingest.shards import list_shards, oldest_shards
from streams.ingest.source import (
    Aws,
    SourceError,
    UnreachableError,
    epoch_of,
    may_be_same,
    wait_for_epoch,
)
from streams.kafka import KafkaConfig

log = logging.getLogger(__name__)

RESTART_WANTED: Final = 75
"""Exit code: the supervisor should start the ingest again."""

LARGEST_SLOT: Final = 64
PR_SET_PDEATHSIG: Final = 1
# Found now, because little may be done between fork and exec when there are threads.
_prctl: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True)
class Launch:
    """What to run.

    Args:
        stream: the stream to read.
        aws: where it is.
        kafka: where it goes.
        application_prefix: what the names of the lease tables begin with.
        folder: where the daemon's files are written; it is made.
        environment: the daemon's environment, with the credentials for AWS.
        checkpoint_every_seconds: the shortest time between two checkpoints of a shard.
        heap_megabytes: the daemon's largest Java heap.
        start_seconds: how long to wait for an emulator that has not made its streams yet.
        failpoints: to be armed in the children.
    """

    stream: Stream
    aws: Aws
    kafka: KafkaConfig
    application_prefix: str
    folder: Path
    environment: Mapping[str, str]
    checkpoint_every_seconds: float
    heap_megabytes: int = 192
    start_seconds: float = 30.0
    failpoints: str = ""


def run_daemon(launch: Launch) -> int:
    """Run the daemon until SIGTERM or SIGINT (0), or until it ends or the stream was made again (75).

    Must be called in the main thread.

    Raises:
        SourceError: the stream, Java or the daemon's jars are missing; the message says what to do.
    """
    stop = StopSignal()
    java, jars = daemon.find_java(), daemon.find_jars()
    kinesis = launch.aws.client("kinesis")
    start_seconds = launch.start_seconds if launch.aws.is_emulated else 0
    epoch = wait_for_epoch(kinesis, launch.stream, start_seconds, lambda: stop.is_set)
    if epoch is None:
        return 0
    with worker_slot(launch.folder) as slot:
        application = daemon.Application(
            launch.application_prefix, launch.stream, epoch, worker_id(launch.folder, slot)
        )
        folder = launch.folder / str(slot)
        try:
            _write_files(folder, launch, application)
        except OSError as error:
            raise SourceError(f"the daemon's files cannot be written: {error}") from None
        if launch.aws.is_emulated:
            prepare_leases(kinesis, launch.aws.client("dynamodb"), application)
        watching = launch.aws.client("kinesis", patient=False)
        process = subprocess.Popen(  # noqa: S603  (our own command)
            daemon.command(java, jars, heap_megabytes=launch.heap_megabytes),
            cwd=folder,
            env=daemon.environment(launch.environment, launch.aws),
            start_new_session=True,  # Ctrl-C is for us: we end it in good order
            preexec_fn=_die_with_parent,  # noqa: PLW1509  (it makes two system calls only)
        )
        try:
            return _watch(
                process,
                stop,
                folder / daemon.FAILED,
                lambda: epoch_of(watching, launch.stream) == epoch,
                launch.aws,
            )
        finally:
            _end(process)


class StopSignal:
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def _set(self, _number: int, _frame: Any) -> None:
        self.is_set = True


def prepare_leases(kinesis: Any, dynamodb: Any, application: daemon.Application) -> None:
    """Make the leases of an emulated stream and take those that nobody holds, before the daemon starts.

    Must be called by the only process that goes by this worker id.

    Raises:
        UnreachableError: DynamoDB or Kinesis does not answer or refuses.
    """
    leases = LeaseTable(dynamodb, application.name)
    try:
        leases.ensure()
        for shard in oldest_shards(list_shards(kinesis, application.stream)):
            leases.add(shard, application.worker_id)
        for shard_id in leases.checkpoints():
            leases.take(shard_id, application.worker_id, even_from_others=False)
        leases.give_up_leadership(application.worker_id)
    except (BotoCoreError, ClientError) as error:
        raise UnreachableError(f"the leases of {application.stream} cannot be prepared: {error}") from None


@contextmanager
def worker_slot(folder: Path) -> Iterator[int]:
    """Hold the lowest number that no other worker with this folder holds; a dead one's is free."""
    folder.mkdir(parents=True, exist_ok=True)
    for slot in range(1, LARGEST_SLOT + 1):
        lock = FileLock(folder / f"{slot}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        try:
            yield slot
        finally:
            lock.release()
        return
    raise SourceError(f"{LARGEST_SLOT} workers of this stream run here already")


def worker_id(folder: Path, slot: int) -> str:
    """Give a name that is the same after a restart and differs between hosts, homes and workers."""
    home = blake2b(str(folder.resolve()).encode(), digest_size=4).hexdigest()
    return f"{socket.gethostname()}-{home}-{slot}"


def _write_files(folder: Path, launch: Launch, application: daemon.Application) -> None:
    folder.mkdir(exist_ok=True)
    config = ChildConfig(
        launch.stream, application.epoch, launch.kafka, launch.checkpoint_every_seconds, launch.failpoints
    )
    path = (folder / "child.json").resolve()
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(config))
    (folder / daemon.FAILED).unlink(missing_ok=True)
    (folder / daemon.PROPERTIES_FILE).write_text(daemon.properties(application, launch.aws))
    (folder / daemon.LOGBACK_FILE).write_text(daemon.LOGBACK)
    (folder / daemon.PROCESSOR_SCRIPT).write_text(daemon.processor_script(sys.executable, path))


def _watch(
    process: "subprocess.Popen[bytes]",
    stop: StopSignal,
    failed: Path,
    is_same_stream: Callable[[], bool],
    aws: Aws,
) -> int:
    check_every = 1.0 if aws.is_emulated else 60.0
    next_check = time.monotonic() + check_every
    while not stop.is_set:
        with contextlib.suppress(subprocess.TimeoutExpired):
            log.error("the daemon ended with code %s", process.wait(0.2))
            return RESTART_WANTED
        if failed.exists():
            log.error("a shard's process failed: starting over from the last checkpoints")
            process.kill()
            return RESTART_WANTED
        if time.monotonic() >= next_check:
            try:
                same = is_same_stream()
            except SourceError as error:
                log.warning("%s", error)
                same = may_be_same(error, aws)
            if not same:
                log.error("the stream is gone or was made again: starting over with its new records")
                process.kill()
                return RESTART_WANTED
            next_check = time.monotonic() + check_every
    return 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(daemon.STOP_SECONDS + 3)
    except subprocess.TimeoutExpired:
        log.warning("the daemon did not stop in time: what it had not checkpointed comes again")
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """Have the kernel kill the daemon when this process dies (Linux); its children end with their stdin."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it died meanwhile
            os._exit(RESTART_WANTED)
