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
    from streams.engine.runner import TopicWork  # noqa: PLC0415  (only in the worker that is patched)

    work = TopicWork._work

    async def done_first(self: Any, group: Any) -> None:
        for batch in group:
            self._done(batch)
        await asyncio.sleep(LONGER_THAN_COMMITS_SECONDS)
        await work(self, group)

    TopicWork._work = done_first


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
    """Now and then what was fetched reaches no agent, as Faust drops what it fetched before a rebalance."""
    _drop_batches(unnoticed=False)


def book_past_a_hole() -> None:
    """Likewise, unnoticed, and the book takes the highest batch that is done for the last one that is not."""
    from streams.engine.book import PartitionBook  # noqa: PLC0415

    _drop_batches(unnoticed=True)

    def done(self: Any, _start: int, next_position: int) -> None:
        self.position = max(self.position, next_position)
        self._open.clear()

    PartitionBook.done = done


def _drop_batches(*, unnoticed: bool) -> None:
    from streams.engine.consumer import BatchConsumer  # noqa: PLC0415

    delivered = BatchConsumer.delivered
    holes = Path(os.environ["PIPELINE_HOME"]) / "faults" / "holes"
    count = 0

    def dropping(self: Any, delivery: Any) -> Any:
        nonlocal count
        count += 1
        made = holes.read_text().count("\n") if holes.exists() else 0
        if count % DROPPED_BATCH == 0 and made < HOLES:
            with holes.open("a") as file:
                spans = (f"{b.topic}[{b.partition}] from {b.start} to {b.next}" for b in delivery.batches)
                file.write(", ".join(spans) + "\n")
            if unnoticed:
                delivered(self, delivery)
            return []
        return delivered(self, delivery)

    BatchConsumer.delivered = dropping


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
