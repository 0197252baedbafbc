"""What the sessions stage costs: hot and cold visitors, a bot, small and large batches; and bytes of state.

python bench/sessions_state.py --history 1000000

The stage and its real local store, without Kafka: decoding, merging, encoding, reading and writing the store.
Compare rows with each other: the figures by themselves mean something on an idle machine only. Processor time
includes that of the store's own threads.
"""

import argparse
import os
import random
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from processors.sessions.stage import SessionsStage
from streams.engine.batch import Batch
from streams.engine.changelog import Change
from streams.engine.runner import packed_changes
from streams.engine.store import StoreMemory
from streams.engine.table import PartitionTable
from streams.facts import VisitorEvent, encode_fact
from streams.silver import Revision

TODAY = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 300
EVENTS_OF_A_VISIT = 2
KINDS = ("page_viewed", "product_viewed", "product_viewed", "cart_added", "product_searched")


@dataclass(slots=True)
class Made:
    """A record as the engine hands it over."""

    value: bytes
    offset: int
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0


class NoChangelog:
    """A changelog whose records are counted by who sends them, and never read."""

    def bounds(self) -> tuple[int, int]:
        """Give no offsets."""
        return 0, 0

    def read(self, start: int) -> Iterator[list[Change]]:
        """Give nothing."""
        raise AssertionError(start)


@dataclass
class Partition:
    """A stage, its local store and its place in the input."""

    folder: Path
    memory_mb: int
    next: int = 0
    changelog_bytes: int = 0
    silver_bytes: int = 0
    stage: SessionsStage = field(
        default_factory=lambda: SessionsStage(timedelta(minutes=30), timedelta(days=400))
    )

    def __post_init__(self) -> None:
        """Open the store."""
        self.open()

    def open(self) -> None:
        """Open the store with an empty cache."""
        memory = StoreMemory(self.memory_mb * 1024 * 1024)
        self.table = PartitionTable(self.folder, NoChangelog(), memory=memory, now_ms=lambda: 7)
        self.table.recover()

    def take(self, values: list[bytes]) -> tuple[float, float]:
        """Work a batch; give the seconds it took, and those of processor time."""
        records: list[Any] = [Made(value, self.next + i) for i, value in enumerate(values)]
        batch = Batch("clean.events", 0, records, self.next, self.next + len(records), None)
        self.next = batch.next
        began, cpu = time.perf_counter(), time.process_time()
        revision = Revision(7, batch.next - 1)
        result = self.stage.process(batch, self.table, revision, TODAY)
        for step in result.steps():
            changes = packed_changes(step, revision)
            self.table.apply(changes)
            self.changelog_bytes += sum(len(key) + len(value or b"") for key, value in changes.items())
            self.silver_bytes += sum(len(output.value or b"") for output in step.outputs)
        return time.perf_counter() - began, time.process_time() - cpu

    def to_disk(self, *, compact: bool) -> int:
        """Close the store, let the system forget its files, open it again; give its bytes on disk."""
        self.table._store.flush()  # noqa: SLF001  (no business of the engine)
        if compact:
            self.table._store.compact_range(None, None)  # noqa: SLF001  (likewise)
        self.table.close()
        size = 0
        for path in self.folder.rglob("*.sst"):
            size += path.stat().st_size
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.open()
        return size


class Shop:
    """Makes events of visits: `EVENTS_OF_A_VISIT` at a time, of a visitor and day."""

    def __init__(self) -> None:
        self.draw = random.Random(7)  # noqa: S311  (no secret)

    def event(self, visitor: int, at: datetime) -> bytes:
        """Give a typical event."""
        draw = self.draw
        visitor_id = f"customer-{visitor:07d}"
        return encode_fact(
            VisitorEvent(
                event_id=str(uuid.UUID(int=draw.getrandbits(128))),
                event_type=draw.choice(KINDS),
                occurred_at=at,
                arrived_at=TODAY,
                content_hash=draw.getrandbits(60),
                visitor_id=visitor_id,
                customer_id=visitor_id,
                has_context=True,
                page_url=f"https://shop.example/products/{draw.randrange(2000)}",
                referrer="https://www.google.com/",
                channel="paid_search",
                campaign="spring-sale",
                country="DE",
                device="mobile",
                browser="Mobile Safari",
                product_id=f"p-{draw.randrange(2000)}",
            )
        )

    def visit(self, visitor: int, day: int) -> list[bytes]:
        """Give some events of a visitor's one visit on a day."""
        begin = TODAY - timedelta(days=day) + timedelta(hours=8 + visitor % 8)
        return [
            self.event(visitor, begin + timedelta(seconds=self.draw.randrange(1200)))
            for _ in range(EVENTS_OF_A_VISIT)
        ]

    def visits(self, events: int, visitors: int, days: int) -> Iterator[bytes]:
        """Give events of visits of random visitors on random days."""
        for _ in range(events // EVENTS_OF_A_VISIT):
            yield from self.visit(self.draw.randrange(visitors), self.draw.randrange(days))


def batches(values: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut values into batches."""
    batch: list[bytes] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def measure(what: str, partition: Partition, events: Callable[[], Iterator[bytes]], size: int) -> float:
    """Work events in batches and print what each cost; give the microseconds of processor time."""
    changelog, silver, count, seconds, cpu = partition.changelog_bytes, partition.silver_bytes, 0, 0.0, 0.0
    for batch in batches(events(), size):
        took = partition.take(batch)
        seconds, cpu, count = seconds + took[0], cpu + took[1], count + len(batch)
    each = cpu / count * 1e6
    print(
        f"{what:44} {count:9,} in batches of {size:5,}: {seconds / count * 1e6:7.1f} µs an event,"
        f" {each:5.1f} of them processor time,"
        f" {(partition.changelog_bytes - changelog) / count:6.0f} bytes of changelog"
        f" and {(partition.silver_bytes - silver) / count:6.0f} sent",
        flush=True,
    )
    return each


def hot_and_cold(folder: Path, history: int, size: int, memory_mb: int) -> None:
    """Compare visitors whose records are at hand with such that are read from disk."""
    shop, partition = Shop(), Partition(folder, memory_mb)
    visitors = history // 30
    sample = max(50_000, history // 5)
    measure("history, into a state that grows", partition, lambda: shop.visits(history, visitors, DAYS), size)
    before = partition.to_disk(compact=False)
    after = partition.to_disk(compact=True)
    sessions = sum(1 for key in partition.table.keys_below(b"\xff", 10**9) if key)
    print(
        f"{sessions:,} day records of one session, {history / sessions:.1f} events each: on disk"
        f" {before / sessions:.0f} bytes a session, after compaction {after / sessions:.0f}"
    )
    cold = measure(
        "cold: the same days, from disk", partition, lambda: shop.visits(sample, visitors, DAYS), size
    )
    some = min(5_000, visitors)
    measure("(warming up)", partition, lambda: shop.visits(sample // 2, some, 1), size)
    hot = measure("hot: 5,000 visitors of today", partition, lambda: shop.visits(sample, some, 1), size)
    print(f"cold / hot: {cold / hot:.2f}")
    partition.table.close()


def bot(folder: Path, memory_mb: int) -> None:
    """Compare one visitor with a million events a day with ordinary ones, at several sizes of batches."""
    for size, count in ((1, 50_000), (10, 200_000), (1000, 1_000_000)):
        shop, partition = Shop(), Partition(folder / str(size), memory_mb)
        apart = timedelta(days=1) / 1_000_000

        def clicks(begin: int, end: int, shop: Shop = shop, apart: timedelta = apart) -> Iterator[bytes]:
            return (shop.event(1, TODAY + n * apart) for n in range(begin, end))

        one = measure(
            "anyone: visits of 20,000 visitors",
            partition,
            lambda shop=shop: shop.visits(20_000, 20_000, 1),
            size,
        )
        measure("a bot, its first 10,000", partition, lambda clicks=clicks: clicks(0, 10_000), size)
        other = measure(
            "the bot from there on", partition, lambda clicks=clicks, end=count: clicks(10_000, end), size
        )
        print(f"bot / anyone: {other / one:.2f}")
        partition.table.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--history", type=int, default=1_000_000, help="events of history")
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--memory-mb", type=int, default=16, help="of the store, as PIPELINE_STATE_MEMORY_MB")
    given = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        hot_and_cold(Path(folder) / "history", given.history, given.batch, given.memory_mb)
        bot(Path(folder) / "bot", given.memory_mb)
    print(
        f"largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )
    print(f"load of the machine: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
