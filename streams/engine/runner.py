"""Carries an agent's batches out: partitions side by side, the batches of one partition in turn."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, TypeVar

from streams.engine.batch import Batch, NoState, Result, Sink, Stage
from streams.engine.crash import OperatorError, crash
from streams.engine.output import Outputs
from streams.engine.table import EPOCH_KEY, PartitionTable, pack
from streams.failpoints import failpoint
from streams.silver import Revision

log = logging.getLogger(__name__)

MARK_POSITION_EVERY_SECONDS: Final = 10.0


class Runner:
    """The batches of one agent. Subclasses say what is done with one.

    Args:
        name: of the agent, for messages.
        topic: that it reads.
        done: told of each batch when everything that came of it is durable.
    """

    def __init__(self, name: str, topic: str, done: Callable[[Batch], None]) -> None:
        self.name = name
        self.topic = topic
        self._done = done
        self._queues: dict[int, asyncio.Queue[Batch]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._in_work: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._taking = asyncio.Event()
        self._taking.set()

    @property
    def busy(self) -> bool:
        """Whether a batch is in work."""
        return bool(self._in_work)

    def take(self, batch: Batch) -> None:
        """Queue a batch; at most `consumer.MAX_IN_FLIGHT` of a partition are under way."""
        partition = batch.partition
        if partition not in self._tasks:
            self._queues[partition] = asyncio.Queue()
            self._tasks[partition] = asyncio.create_task(self._run(partition))
        self._queues[partition].put_nowait(batch)

    async def finish(self, deadline_seconds: float) -> None:
        """Take nothing new, finish what is in work and forget what waits; it comes again."""
        self._taking.clear()
        try:
            await asyncio.wait_for(self._idle.wait(), deadline_seconds)
        except TimeoutError:
            self.overrun(deadline_seconds)
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._queues.clear()
        self._in_work.clear()
        self._idle.set()
        await self.released()

    def overrun(self, deadline_seconds: float) -> None:
        """Deal with a batch that is still in work when its partition may already be someone else's."""
        crash(f"{self.name}: a batch was still in work {deadline_seconds:.0f} s after revocation")

    async def assigned(self, partitions: set[int]) -> None:
        """Begin with an assignment of partitions; called after `finish`, before the first batch."""
        self._taking.set()
        await self.prepare(partitions)

    async def prepare(self, partitions: set[int]) -> None:
        """Make ready what work on the partitions needs."""

    async def released(self) -> None:
        """Note that nothing is in work."""

    async def work(self, batch: Batch) -> None:
        """Do what the agent does; return when all that comes of it is durable."""
        raise NotImplementedError

    async def _run(self, partition: int) -> None:
        queue = self._queues[partition]
        while True:
            batch = await queue.get()
            if not self._taking.is_set():
                continue
            self._in_work.add(partition)
            self._idle.clear()
            try:
                await self.work(batch)
            except Exception as error:  # noqa: BLE001  (crash-only: whatever it is, the batch comes again)
                if self._taking.is_set():
                    crash(f"{self.name}: {batch.topic}[{partition}] from offset {batch.start} failed", error)
                log.warning("%s: a batch was left for later on stopping: %s", self.name, error)
            else:
                failpoint("batch.before_done")
                self._done(batch)
                failpoint("batch.after_done")
            self._in_work.discard(partition)
            if not self._in_work:
                self._idle.set()


T = TypeVar("T")
OpenTable = Callable[[Stage, int], PartitionTable]


def packed_changes(step: Result, revision: Revision) -> dict[bytes, bytes | None]:
    """Give the changelog records of a step: values behind the batch's revision, None for what has expired."""
    changes: dict[bytes, bytes | None] = {
        key: pack(revision, value or b"") for key, value in step.changes.items()
    }
    changes.update(dict.fromkeys(step.expired))
    return changes


def check_settings(table: PartitionTable, how_to_rebuild: str) -> None:
    """Refuse a state that was made with other settings.

    Raises:
        OperatorError: naming each setting that differs.
    """
    made_with, now = table.made_with, table.settings
    wrong = [
        f"{name} is {now.get(name, 'not set')}, the state was made with {made_with.get(name, 'none')}"
        for name in sorted(made_with.keys() | now.keys())
        if made_with.get(name) != now.get(name)
    ]
    if wrong:
        raise OperatorError(f"{'; '.join(wrong)}. Set it back, or make the state again{how_to_rebuild}")


class StageRunner(Runner):
    """Runs a pure stage: compute, send and await all acknowledgements, apply the state, done."""

    def __init__(
        self,
        stage: Stage,
        *,
        outputs: Outputs,
        done: Callable[[Batch], None],
        open_table: OpenTable,
        changelog_topic: str,
        how_to_rebuild: str = "",
    ) -> None:
        super().__init__(stage.name, stage.topic, done)
        self._how_to_rebuild = how_to_rebuild
        self._stage = stage
        self._outputs = outputs
        self._open_table = open_table
        self._changelog_topic = changelog_topic
        self._tables: dict[int, asyncio.Task[PartitionTable]] = {}
        self._open: dict[int, PartitionTable] = {}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix=stage.name)
        self._marked_at: dict[int, float] = {}

    async def prepare(self, partitions: set[int]) -> None:
        """Open and recover the tables of the partitions, side by side, and close those held no longer."""
        if not self._stage.stateful:
            return
        for partition in set(self._open) - partitions:
            await self._in_thread(self._open.pop(partition).close)
        self._tables = {p: asyncio.create_task(self._recovered(p)) for p in partitions}

    async def released(self) -> None:
        """Note how far the local copies are, so that the next recovery is short."""
        for recovering in self._tables.values():
            await asyncio.wait([recovering])
        for table in self._open.values():
            await self._in_thread(table.mark_position)

    async def work(self, batch: Batch) -> None:
        """Carry out the stage on a batch."""
        table = await self._tables[batch.partition] if self._stage.stateful else None
        revision = Revision(table.epoch if table else 0, batch.next - 1)
        result = self._stage.process(batch, table or NoState(), revision, datetime.now(UTC))
        for step in result.steps():
            changes = packed_changes(step, revision)
            failpoint("stage.before_output")
            self._outputs.send(step.outputs)
            failpoint("stage.before_changelog")
            self._outputs.send_to(self._changelog_topic, batch.partition, changes)
            failpoint("stage.before_acknowledgement")
            if step.outputs or changes:
                await self._outputs.acknowledged()
            failpoint("stage.after_acknowledgement")
            if table:
                table.apply(changes)
            failpoint("stage.after_apply")
        if table and time.monotonic() - self._marked_at.get(batch.partition, 0) > MARK_POSITION_EVERY_SECONDS:
            failpoint("stage.before_mark")
            await self._in_thread(table.mark_position)
            failpoint("stage.after_mark")
            self._marked_at[batch.partition] = time.monotonic()

    async def _recovered(self, partition: int) -> PartitionTable:
        try:
            table = self._open.get(partition)
            if table is None:
                table = await self._in_thread(lambda: self._open_table(self._stage, partition))
                self._open[partition] = table
            count = await self._in_thread(table.recover)
            check_settings(table, self._how_to_rebuild)
            if table.new_epoch is not None:
                failpoint("stage.before_epoch")
                self._outputs.send_to(self._changelog_topic, partition, {EPOCH_KEY: table.new_epoch})
                await self._outputs.acknowledged()
                failpoint("stage.after_epoch")
                table.apply({EPOCH_KEY: table.new_epoch})
            elif count:
                log.info("%s[%d]: %d changelog records recovered", self.name, partition, count)
        except Exception as error:  # noqa: BLE001  (state that cannot be trusted must not be worked with)
            crash(f"{self.name}: the state of partition {partition} cannot be recovered", error)
        return table

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


class SinkRunner(Runner):
    """Runs a sink: write, send what was refused and await its acknowledgement, done."""

    def __init__(
        self, sink: Sink, *, outputs: Outputs, done: Callable[[Batch], None], threads: ThreadPoolExecutor
    ) -> None:
        super().__init__(sink.name, sink.topic, done)
        self._sink = sink
        self._outputs = outputs
        self._threads = threads

    def overrun(self, deadline_seconds: float) -> None:
        """Leave the batch to its thread: writes are idempotent, so it is harmless there, and it comes again.

        Else an outage of the database would take all workers down with each rebalance.
        """
        log.warning("%s: left a batch that took over %.0f s; it comes again", self.name, deadline_seconds)

    async def work(self, batch: Batch) -> None:
        """Write a batch in a thread."""
        loop = asyncio.get_running_loop()
        refused = await loop.run_in_executor(self._threads, self._sink.write, batch)
        if refused:
            failpoint("sink.before_letters")
            self._outputs.send(refused)
            await self._outputs.acknowledged()
            failpoint("sink.after_letters")
