"""Steps of the pipeline broken on purpose, in a worker of the harness: what is wrong then must be found.

Each function changes the code of the process that calls it, before the worker begins.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

HOLES = 2
"""As many batches are dropped in all, however often the worker starts."""
DROPPED_BATCH = 6
LONGER_THAN_COMMITS_SECONDS = 2.5


def done_before_acknowledgement() -> None:
    """A stage says that a batch is done before anything of it is sent."""
    from streams.engine.runner import StageRunner  # noqa: PLC0415  (only in the worker that is patched)

    work = StageRunner.work

    async def done_first(self: Any, batch: Any) -> None:
        self._done(batch)
        self._done, done = (lambda _: None), self._done
        await asyncio.sleep(LONGER_THAN_COMMITS_SECONDS)
        await work(self, batch)
        self._done = done

    StageRunner.work = done_first


def counter_instead_of_merge() -> None:
    """A customer's total grows with every purchase that comes, known or not."""
    from sinks.mapping.facts import STAGING  # noqa: PLC0415
    from sinks.writers import facts_sql  # noqa: PLC0415

    table = "silver_transactions"
    by_fact = "FROM inserted\n        WHERE transaction_type IN"
    by_arrival = f"FROM {STAGING[table].name}\n        WHERE transaction_type IN"
    statement = facts_sql.INSERTS[table]
    if by_fact not in statement:
        raise RuntimeError("the statement of totals has another form now")
    facts_sql.INSERTS[table] = statement.replace(by_fact, by_arrival)


def checkpoint_before_flush() -> None:
    """A shard is checkpointed before its records are handed to Kafka."""
    from streams.ingest.checkpoints import Position  # noqa: PLC0415
    from streams.ingest.processor import ShardProcessor  # noqa: PLC0415

    process = ShardProcessor.process_records

    def checkpoint_first(self: Any, given: Any) -> None:
        if given.records:
            last = given.records[-1]
            self._save(given.checkpointer, Position(last.sequence_number, last.sub_sequence_number or 0))
        process(self, given)

    ShardProcessor.process_records = checkpoint_first


def dropped_batch() -> None:
    """Now and then a fetched batch vanishes, as Faust drops them around rebalances."""
    from streams.engine.consumer import BatchConsumer  # noqa: PLC0415

    enter = BatchConsumer._enter
    holes = Path(os.environ["PIPELINE_HOME"]) / "faults" / "holes"
    entered = 0

    def dropping(self: Any, tp: Any, batch: Any) -> bool:
        nonlocal entered
        entered += 1
        made = holes.read_text().count("\n") if holes.exists() else 0
        if entered % DROPPED_BATCH == 0 and made < HOLES:
            with holes.open("a") as file:
                file.write(f"{batch.topic} {batch.partition} {batch.start} {batch.next}\n")
            return False
        return enter(self, tp, batch)

    BatchConsumer._enter = dropping


def book_past_a_hole() -> None:
    """As `dropped_batch`, and the book takes what comes next as if nothing were missing."""
    from streams.engine.book import PartitionBook  # noqa: PLC0415

    dropped_batch()
    fetched = PartitionBook.fetched

    def closing_holes(self: Any, start: int, *others: Any) -> bool:
        self._tail = max(self._tail, start)
        return fetched(self, start, *others)

    PartitionBook.fetched = closing_holes


PATCHES: Mapping[str, Callable[[], None]] = MappingProxyType(
    {
        patch.__name__: patch
        for patch in (
            done_before_acknowledgement,
            counter_instead_of_merge,
            checkpoint_before_flush,
            dropped_batch,
            book_past_a_hole,
        )
    }
)
