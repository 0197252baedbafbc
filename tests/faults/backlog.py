"""A load: millions of records wait on the raw topics, and live ones come by Kinesis meanwhile."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

import psycopg

from bench.drains import memory_mb
from sinks.schema import FACTS
from tests.faults.fault import WORKERS, Fault, SkippedError
from tests.faults.shop import EPOCH
from tests.faults.world import FaultError, World

CHUNK = 5_000
LIVE_PER_SECOND = 100.0
LOOK_SECONDS = 0.5
STILL_SECONDS = 120.0
AFTERWARDS_SECONDS = 20.0
MOST_AFTERWARDS_SECONDS = 10.0
"""What a live event may take once the backlog is through."""
MOST_MB = 600
"""Resident memory that a worker may take, whatever waits."""
BYTES_A_RECORD = 6_000
"""Of disk, with what the judge puts aside."""


@dataclass(frozen=True)
class Backlog(Fault):
    """Drain a backlog under live events; then let live events come by themselves for a while.

    `records`: of the backlog.

    A worker that takes more than `MOST_MB` is a failure, and so is a live event that takes more than
    `MOST_AFTERWARDS_SECONDS` when the backlog is through.
    """

    alone: bool = True
    records: int = 5_000_000

    def prepared(self, home: Path) -> AbstractContextManager[None]:
        """See whether the disk has room for it."""
        needed, there = self.records * BYTES_A_RECORD, disk_usage(home.parent).free
        if there < needed:
            raise SkippedError(f"it takes {needed >> 30:,} GiB of disk, {there >> 30:,} are free")
        return nullcontext()

    def run(self, world: World) -> None:
        fill_seconds = self._fill(world)
        raw_mb = megabytes_below(world.home / "kafka")
        kafka, postgres = world.home / "kafka", world.home / "postgres"
        began, began_at = time.monotonic(), now_of(world)
        with watched_memory(world) as looks:
            world.start(*world.ingests, *WORKERS)
            world.feed.start(LIVE_PER_SECOND)
            self._wait_drained(world)
            drained, drained_at = time.monotonic(), now_of(world)
            time.sleep(AFTERWARDS_SECONDS)
            world.feed.stop()
            world.settle()
        world.note("all workers", f"{self.records:,} records")
        during, after = latencies(world, began_at, drained_at), latencies(world, drained_at, now_of(world))
        half = (began + drained) / 2
        rate = self.records / (drained - began)
        world.figures.update(
            {
                "records that waited": f"{self.records:,}, put there in {fill_seconds:.0f} s",
                "drained": f"in {drained - began:.0f} s from the workers' start, {rate:,.0f} a second",
                "live events meanwhile": f"{during.count:,}; {during}",
                "live events afterwards": f"{after.count:,}; {after}",
                **{
                    f"most memory of `{kind}`": f"{most_mb(looks, kind)} MB; {most_mb(looks, kind, half)} MB "
                    "in the first half of that time"
                    for kind in WORKERS
                },
                "on disk": f"Kafka {raw_mb:,} MB with the backlog, {megabytes_below(kafka):,} MB in the end; "
                f"Postgres {megabytes_below(postgres):,} MB",
            }
        )
        if not during.count or not after.count:
            raise FaultError("no live event came by itself, or none while the backlog was drained")
        if after.most > MOST_AFTERWARDS_SECONDS:
            raise FaultError(f"a live event took {after.most:.1f} s when the backlog was through")
        for kind in WORKERS:
            if not 0 < most_mb(looks, kind) <= MOST_MB:
                raise FaultError(f"a {kind} worker took {most_mb(looks, kind)} MB of memory")

    def _fill(self, world: World) -> float:
        """Put the backlog on the raw topics, and give the seconds that took."""
        behind = world.sender_behind()
        began = time.monotonic()
        for done in range(0, self.records, CHUNK):
            world.feed.send_by(behind, min(CHUNK, self.records - done))
            if (done // CHUNK) % max(1, self.records // CHUNK // 10) == 0:
                world.say(f"{done:,} of {self.records:,} records are on the raw topics")
        behind.close()
        return time.monotonic() - began

    def _wait_drained(self, world: World) -> None:
        """Wait until what waited at first is through: the first stages, then those behind them, the sinks."""
        for name in ("process", *WORKERS):
            group = world.groups[name]
            ends = group.ends()
            lag, moved = -1, time.monotonic()
            while any(position < ends[place] for place, position in group.positions().items()):
                time.sleep(LOOK_SECONDS)
                lag, before = group.lag(), lag
                if lag != before:
                    moved = time.monotonic()
                if time.monotonic() - moved > STILL_SECONDS:
                    world.capture()
                    raise FaultError(f"{name} has stood still for {STILL_SECONDS:.0f} s at {lag:,} records")


class Look(NamedTuple):
    """What was seen at an instant of the monotonic clock: megabytes by kind of workers."""

    at: float
    megabytes: Mapping[str, int]


@dataclass(frozen=True)
class Latencies:
    """How long live events took from Kinesis' arrival to the sink's transaction, in seconds."""

    count: int
    p50: float
    p99: float
    most: float

    def __str__(self) -> str:
        """Give them for a table."""
        return f"p50 {self.p50:.1f} s, p99 {self.p99:.1f} s, most {self.most:.1f} s"


def latencies(world: World, since: float, until: float) -> Latencies:
    """Look up what live events took that arrived between two instants, in seconds since 1970."""
    live = " UNION ALL ".join(
        f"SELECT arrived_at, loaded_at FROM {table} WHERE stream_epoch <> {EPOCH}" for table in FACTS
    )
    statement = f"""
        SELECT count(*), percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
            ORDER BY extract(epoch FROM loaded_at - arrived_at)
        )
        FROM ({live}) AS live
        WHERE arrived_at >= to_timestamp(%s) AND arrived_at < to_timestamp(%s)
    """
    with psycopg.connect(world.platform.postgres_url) as connection:
        row = connection.execute(statement.encode(), (since, until)).fetchone()
    if row is None or row[1] is None:
        return Latencies(0, 0.0, 0.0, 0.0)
    return Latencies(row[0], *map(float, row[1]))


def now_of(world: World) -> float:
    """Give the database's instant, in seconds since 1970."""
    with psycopg.connect(world.platform.postgres_url) as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    return float(row[0]) if row else 0.0


@contextmanager
def watched_memory(world: World) -> Iterator[list[Look]]:
    """Look at the resident memory of workers, by kind, while the context lasts."""
    over, looks = threading.Event(), list[Look]()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            looks.append(Look(time.monotonic(), memory_mb(world.platform, WORKERS)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield looks
    finally:
        over.set()
        thread.join()


def most_mb(looks: Iterable[Look], kind: str, until: float = float("inf")) -> int:
    """Give the most memory of a kind of workers that was seen up to an instant; 0 if they never were."""
    return max((look.megabytes.get(kind, 0) for look in looks if look.at <= until), default=0)


def megabytes_below(folder: Path) -> int:
    """Give what the files below a folder take of the disk; files that vanish meanwhile are left out."""
    taken = 0
    for path in folder.rglob("*"):
        try:
            taken += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return taken >> 20
