"""Carries batches out: a topic's through its agents, in groups; the batches of one partition in turn."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

from streams.engine.batch import Batch, NoState, Result, Sink, Stage
from streams.engine.crash import OperatorError, crash
from streams.engine.gather import Gathering
from streams.engine.output import Outputs
from streams.engine.table import EPOCH_KEY, PartitionTable, RecoveryAbandonedError, check_keys, pack
from streams.failpoints import failpoint
from streams.silver import Revision

log = logging.getLogger(__name__)

MARK_POSITION_EVERY_SECONDS: Final = 10.0


class Runner:
    """What one agent does with the batches of its topic. Subclasses say what that is.

    Args:
        name: of the agent, for messages.
        topic: that it reads.
    """

    def __init__(self, name: str, topic: str) -> None:
        self.name = name
        self.topic = topic
        self.on_ready: Callable[[], None] = lambda: None
        """Called when a partition has become ready."""

    def is_ready(self, partition: int) -> bool:  # noqa: ARG002  (the answer of those that need no preparation)
        """Whether a partition may be worked on."""
        return True

    async def prepare(self, partitions: set[int]) -> None:
        """Make ready what work on the assigned partitions needs."""

    async def work(self, group: Sequence[Batch]) -> None:
        """Do what the agent does; return when all that comes of it is durable.

        Args:
            group: batches of different partitions.
        """
        raise NotImplementedError

    def overrun(self, deadline_seconds: float) -> None:
        """Deal with a batch that is still in work when its partition may already be someone else's."""
        crash(f"{self.name}: a batch was still in work {deadline_seconds:.0f} s after revocation")

    async def released(self) -> None:
        """Note that nothing is in work."""


class TopicWork:
    """Carries a topic's batches through all of its agents: the batches of a partition in turn, others beside.

    Args:
        topic: that the batches are of.
        done: told of each batch when everything that came of it, in all agents, is durable.
    """

    def __init__(self, topic: str, done: Callable[[Batch], None]) -> None:
        self.topic = topic
        self._done = done
        self._runners: list[Runner] = []
        self._gathering = Gathering()
        self._groups: set[asyncio.Task[None]] = set()
        self._taking = True
        self._timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a batch is in work."""
        return bool(self._groups)

    def add_agent(self, runner: Runner) -> None:
        """Let an agent take part."""
        self._runners.append(runner)
        runner.on_ready = self._begin

    def take(self, batches: Iterable[Batch]) -> None:
        """Let batches be worked on."""
        if self._taking:
            self._gathering.add(batches)
            self._begin()

    def forget(self, partition: int, position: int) -> None:
        """Leave what was fetched behind a position and is not in work yet; it is fetched again."""
        self._gathering.forget(partition, position)

    async def finish(self, deadline_seconds: float) -> bool:
        """Take nothing new, finish what is in work and forget what waits; it comes again.

        Returns:
            whether all that was in work ended in time.
        """
        self._taking = False
        late: set[asyncio.Task[None]] = set()
        if self._groups:
            _done, late = await asyncio.wait(self._groups, timeout=deadline_seconds)
            if late:
                for runner in self._runners:
                    runner.overrun(deadline_seconds)
            for task in late:
                task.cancel()
        self._groups.clear()
        self._gathering.clear()
        for runner in self._runners:
            await runner.released()
        return not late

    async def assigned(self, partitions: set[int]) -> None:
        """Begin with an assignment of partitions; called after `finish`, before the first batch."""
        self._taking = True
        await asyncio.gather(*(runner.prepare(partitions) for runner in self._runners))

    def _is_ready(self, partition: int) -> bool:
        return all(runner.is_ready(partition) for runner in self._runners)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._taking:
            return
        loop = asyncio.get_running_loop()
        while group := self._gathering.take(self._is_ready, loop.time()):
            task = asyncio.create_task(self._work(group))
            self._groups.add(task)
            task.add_done_callback(self._groups.discard)
        if self._gathering.waits and self._gathering.due_at > loop.time():
            self._timer = loop.call_at(self._gathering.due_at, self._begin)

    async def _work(self, group: Sequence[Batch]) -> None:
        through = await asyncio.gather(*(self._through(runner, group) for runner in self._runners))
        if not all(through):
            return
        failpoint("batch.before_done")
        for batch in group:
            self._done(batch)
        failpoint("batch.after_done")
        self._gathering.finished(group)
        self._begin()

    async def _through(self, runner: Runner, group: Sequence[Batch]) -> bool:
        try:
            await runner.work(group)
        except Exception as error:  # noqa: BLE001  (crash-only: whatever it is, the batches come again)
            if self._taking:
                which = ", ".join(f"[{batch.partition}] from offset {batch.start}" for batch in group)
                crash(f"{runner.name}: {self.topic}{which} failed", error)
            log.warning("%s: batches were left for later on stopping: %s", runner.name, error)
            return False
        return True


T = TypeVar("T")
OpenTable = Callable[[Stage, int], PartitionTable]


def packed_changes(step: Result, revision: Revision) -> dict[bytes, bytes | None]:
    """Give the changelog records of a step: values behind the batch's revision, None for what has expired.

    Raises:
        ValueError: a key cannot be one of state.
    """
    check_keys(step.changes)
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


class _Sent(NamedTuple):
    """A step of a batch that has been handed to the producer."""

    table: PartitionTable | None
    changes: dict[bytes, bytes | None]
    is_to_acknowledge: bool


class StageRunner(Runner):
    """Runs a pure stage: compute, send and await all acknowledgements, apply the state, done."""

    def __init__(
        self,
        stage: Stage,
        *,
        outputs: Outputs,
        open_table: OpenTable,
        changelog_topic: str,
        how_to_rebuild: str = "",
    ) -> None:
        super().__init__(stage.name, stage.topic)
        self._how_to_rebuild = how_to_rebuild
        self._stage = stage
        for setting in stage.state_settings.items():
            if not all(isinstance(part, str) for part in setting):
                raise TypeError(f"{stage.name}: names and values of state_settings are texts, not {setting}")
        self._outputs = outputs
        self._open_table = open_table
        self._changelog_topic = changelog_topic
        self._tables: dict[int, asyncio.Task[PartitionTable | None]] = {}
        self._open: dict[int, PartitionTable] = {}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix=stage.name)
        self._marked_at: dict[int, float] = {}
        self._abandon = threading.Event()

    def is_ready(self, partition: int) -> bool:
        """Whether a partition's state is recovered."""
        recovering = self._tables.get(partition)
        return not self._stage.stateful or (
            recovering is not None and recovering.done() and recovering.result() is not None
        )

    async def prepare(self, partitions: set[int]) -> None:
        """Open and recover the tables of the partitions, side by side, and close those held no longer."""
        if not self._stage.stateful:
            return
        for partition in set(self._open) - partitions:
            await self._in_thread(self._open.pop(partition).close)
        self._abandon = threading.Event()
        self._tables = {p: asyncio.create_task(self._recovered(p, self._abandon)) for p in partitions}
        for recovering in self._tables.values():
            recovering.add_done_callback(lambda _: self.on_ready())

    async def released(self) -> None:
        """End recoveries, and note how far the local copies are, so that the next one is short."""
        self._abandon.set()
        for recovering in self._tables.values():
            await asyncio.wait([recovering])
        for table in self._open.values():
            await self._in_thread(table.mark_position)

    async def work(self, group: Sequence[Batch]) -> None:
        """Carry out the stage: one acknowledgement for the first steps of all batches, one for the second."""
        now = datetime.now(UTC)
        batches = [self._steps(batch, now) for batch in group]
        while sent := [step for steps in batches if (step := next(steps, None)) is not None]:
            failpoint("stage.before_acknowledgement")
            if any(step.is_to_acknowledge for step in sent):
                await self._outputs.acknowledged()
            failpoint("stage.after_acknowledgement")
            for step in sent:
                if step.table:
                    step.table.apply(step.changes)
            failpoint("stage.after_apply")
        for batch in group:
            await self._mark_if_due(batch.partition)

    def _steps(self, batch: Batch, now: datetime) -> Iterator[_Sent]:
        """Compute what a batch leads to, and send one step of it each time that the next one is asked for."""
        table = self._tables[batch.partition].result() if self._stage.stateful else None
        revision = Revision(table.epoch if table else 0, batch.next - 1)
        result = self._stage.process(batch, table or NoState(), revision, now)
        for step in result.steps():
            changes = packed_changes(step, revision)
            if changes and table is None:
                raise ValueError(f"{self.name} keeps no state, and gave changes of it")
            failpoint("stage.before_output")
            self._outputs.send(step.outputs)
            failpoint("stage.before_changelog")
            self._outputs.send_to(self._changelog_topic, batch.partition, changes)
            yield _Sent(table, changes, is_to_acknowledge=bool(step.outputs or changes))

    async def _mark_if_due(self, partition: int) -> None:
        table = self._open.get(partition)
        if table and time.monotonic() - self._marked_at.get(partition, 0) > MARK_POSITION_EVERY_SECONDS:
            failpoint("stage.before_mark")
            await self._in_thread(table.mark_position)
            failpoint("stage.after_mark")
            self._marked_at[partition] = time.monotonic()

    async def _recovered(self, partition: int, abandon: threading.Event) -> PartitionTable | None:
        """Give the table of a partition when it has all of its changelog; None if that was abandoned."""
        try:
            table = self._open.get(partition)
            if table is None:
                table = await self._in_thread(lambda: self._open_table(self._stage, partition))
                self._open[partition] = table
            recover = table.recover
            count = await self._in_thread(lambda: recover(abandon.is_set))
            check_settings(table, self._how_to_rebuild)
            if table.new_epoch is not None:
                failpoint("stage.before_epoch")
                self._outputs.send_to(self._changelog_topic, partition, {EPOCH_KEY: table.new_epoch})
                await self._outputs.acknowledged()
                failpoint("stage.after_epoch")
                table.apply({EPOCH_KEY: table.new_epoch})
            elif count:
                log.info("%s[%d]: %d changelog records recovered", self.name, partition, count)
        except RecoveryAbandonedError:
            return None
        except Exception as error:  # noqa: BLE001  (state that cannot be trusted must not be worked with)
            crash(f"{self.name}: the state of partition {partition} cannot be recovered", error)
        return table

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


class SinkRunner(Runner):
    """Runs a sink: write, send what was refused and await its acknowledgement, done."""

    def __init__(self, sink: Sink, *, outputs: Outputs, threads: ThreadPoolExecutor) -> None:
        super().__init__(sink.name, sink.topic)
        self._sink = sink
        self._outputs = outputs
        self._threads = threads

    def overrun(self, deadline_seconds: float) -> None:
        """Leave the batch to its thread: writes are idempotent, so it is harmless there, and it comes again.

        Else an outage of the database would take all workers down with each rebalance.
        """
        log.warning("%s: left a batch that took over %.0f s; it comes again", self.name, deadline_seconds)

    async def work(self, group: Sequence[Batch]) -> None:
        """Write batches together, in a thread."""
        loop = asyncio.get_running_loop()
        refused = await loop.run_in_executor(self._threads, self._sink.write, group)
        if refused:
            failpoint("sink.before_letters")
            self._outputs.send(refused)
            await self._outputs.acknowledged()
            failpoint("sink.after_letters")
