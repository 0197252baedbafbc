"""Faust's Kafka consumer, a partition batch at a time, with a contiguous book of what is done.

Topics of batch agents are declared with `acks=False`, which takes them out of Faust's own offset arithmetic
(it knows single offsets and takes a batch for a gap); what is committed for them is what their books say.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.engine.batch import Batch
from streams.engine.book import HoleError, PartitionBook
from streams.engine.config import EngineConfig
from streams.engine.crash import OperatorError, crash
from streams.failpoints import failpoint

AHEAD_OFFSETS = 8_000
"""Of one partition that are under way at least, before no more of it is fetched: as much as a large batch."""
BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""Of all batches under way: no more is fetched beyond it, however many partitions have something waiting."""
FETCH_WAIT_MS = 50
FETCH_ENOUGH_BYTES = 1024 * 1024
"""A broker answers when it has so much, of all partitions together, or after so long: seldom for little."""
DELIVERY_DEADLINE_SECONDS = 20.0
REBALANCE_SECONDS = 30.0


@dataclass(eq=False, slots=True)
class Delivery:
    """All batches of a topic that were fetched at once, on their way through Faust to the agents."""

    fetched_at: float
    """By a clock that never goes back, in seconds."""
    batches: list[Batch]
    """Without those that have been struck out since, because they are fetched again."""


class BatchRecord(NamedTuple):
    """What Faust sees as one record: a delivery."""

    topic: str
    partition: int
    offset: int  # of the last record in the first batch
    timestamp: int
    timestamp_type: int
    headers: tuple[()]
    key: None
    value: Delivery
    checksum: None = None
    serialized_key_size: int = 0
    serialized_value_size: int = 0


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to the brokers; it stamps each batch with where the fetch stood."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._assignment: object = None
        self._skipped: dict[TP, tuple[int, int]] = {}
        self.handed_over: dict[TP, int] = {}
        """Where the last batch of each partition ended that was fetched under this assignment."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust has no settings for them
        consumer._fetch_min_bytes = FETCH_ENOUGH_BYTES
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  (as in the base class)
        max_records: int | None = None,
    ) -> dict[TP, list[Any]]:
        fetched = await self._fetch_batches(consumer, active_partitions, max_records)
        if not fetched and timeout:
            waiter = consumer._fetcher._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=timeout)
            waiter.cancel()
            fetched = await self._fetch_batches(consumer, active_partitions, max_records)
        return fetched

    async def _fetch_batches(
        self, consumer: Any, active_partitions: set[TP], max_records: int | None
    ) -> dict[TP, list[Any]]:
        assignment = consumer._subscription.subscription.assignment
        if assignment is not self._assignment:
            self._assignment, self._skipped, self.handed_over = assignment, {}, {}
        before = _positions(assignment, active_partitions)
        for result in consumer._fetcher._records.values():
            _keep_records(result)
        fetched = await super()._fetch_records(
            consumer, active_partitions, timeout=0, max_records=max_records
        )
        if consumer._subscription.subscription.assignment is not assignment:
            return {}  # reassigned while fetching; everything is fetched again from what is committed
        batches = {}
        for tp, position in _positions(assignment, active_partitions).items():
            if position == before.get(tp, position):
                continue
            start = self._start_of(tp, before[tp])
            if records := fetched.get(tp):
                batches[tp] = [Batch(tp.topic, tp.partition, records, start, position, assignment)]
                self.handed_over[tp] = position
            else:
                # Only markers of transactions: what comes next begins before them.
                self._skipped[tp] = (start, position)
        return batches

    def _start_of(self, tp: TP, position: int) -> int:
        skipped_from, skipped_to = self._skipped.pop(tp, (position, position))
        return skipped_from if skipped_to == position else position

    async def assigned_positions(self, partitions: Iterable[TP]) -> tuple[object, dict[TP, int]]:
        """Give the assignment's token and where each partition stands: committed, or else the log's start.

        Raises:
            OperatorError: retention has deleted records that were not done yet, or the log ends before what
                is committed.
        """
        return cast(
            "tuple[object, dict[TP, int]]", await self.call_thread(self._assigned_positions, list(partitions))
        )

    async def _assigned_positions(self, partitions: list[TP]) -> tuple[object, dict[TP, int]]:
        consumer = self._ensure_consumer()
        committed = {tp: await consumer.committed(tp) for tp in partitions}
        first = await consumer.beginning_offsets(partitions) if partitions else {}
        ends = await consumer.end_offsets(partitions) if partitions else {}
        for tp, offset in committed.items():
            if offset is None or first[tp] <= offset <= ends[tp]:
                continue
            place = f"{tp.topic}[{tp.partition}]"
            reset = (
                f"stop the workers and run Kafka's own kafka-consumer-groups.sh --bootstrap-server … "
                f"--group {self.app.conf.id} --topic {tp.topic}:{tp.partition} --reset-offsets --to-earliest "
                f"--execute"
            )
            if offset < first[tp]:
                raise OperatorError(
                    f"{place}: retention deleted records {offset} to {first[tp] - 1} before they were "
                    f"processed. To accept their loss, {reset}"
                )
            raise OperatorError(
                f"{place}: {offset} is committed, and the log ends at {ends[tp]}: the brokers have lost "
                f"records, and what comes new would be taken for done. To go on with what they have, "
                f"{reset}; offsets mean other records now, so make the state of stages again"
                f"{cast('BatchAppProtocol', self.app).engine.how_to_rebuild}"
            )
        positions = {tp: first[tp] if offset is None else offset for tp, offset in committed.items()}
        return consumer._subscription.subscription.assignment, positions


def _positions(assignment: Any, partitions: Iterable[TP]) -> dict[TP, int]:
    states = {tp: assignment.state_value(tp) for tp in partitions} if assignment is not None else {}
    return {
        tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position
    }


def _keep_records(fetched: Any) -> None:
    """Let records be handed over as they were read: to copy each costs a third of the fetch."""
    records = getattr(fetched, "_partition_records", None)  # an error that was fetched has none
    if records is not None:
        records._consumer_record = _record_as_read


def _record_as_read(_partition: TP, record: Any) -> Any:
    return record


def _as_one(delivery: Delivery) -> BatchRecord:
    first = delivery.batches[0]
    last: Any = first.records[-1]
    return BatchRecord(
        first.topic, first.partition, last.offset, last.timestamp, last.timestamp_type, (), None, delivery
    )


class BatchAppProtocol(Protocol):
    """What the consumer asks of its app (`streams.engine.app.BatchApp`)."""

    engine: EngineConfig

    def forget(self, topic: str, partition: int, position: int) -> None:
        """Leave what was fetched behind a position and is not in work yet."""

    def batches_in_work(self) -> bool:
        """Whether an agent is at work."""

    async def on_batches_revoked(self) -> None:
        """Finish what is in work."""

    async def on_batches_assigned(self, assigned: set[TP]) -> None:
        """Make the agents ready for their partitions."""


class BatchConsumer(driver.Consumer):
    """Hands batches to Faust, keeps their books and commits what these say."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._books: dict[TP, PartitionBook] = {}
        self._batch_app = cast("BatchAppProtocol", self.app)
        self._assignment_token: object = None
        self._undelivered: list[Delivery] = []
        self._standing: dict[TP, tuple[int, float]] = {}
        self._stopping = asyncio.Event()

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what is in work before the partitions go to someone else; called by Faust."""
        with _deadline("giving partitions back"):
            await self._batch_app.on_batches_revoked()
            await self.commit()
            await super().on_partitions_revoked(revoked)
        self._books.clear()
        self._undelivered.clear()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take partitions over; called by Faust.

        Not when the worker stops meanwhile: the thread that is asked then does not answer any more, and the
        stop would wait for us.
        """
        taking = asyncio.create_task(self._take_over(assigned, generation_id))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if taking.done():
            taking.result()
        else:
            taking.cancel()

    def stop_taking(self) -> None:
        """Take no more partitions over: the worker stops."""
        self._stopping.set()

    async def _take_over(self, assigned: set[TP], generation_id: int) -> None:
        """Open new books at what the brokers say is committed."""
        try:
            with _deadline("taking partitions over"):
                thread = cast("BatchConsumerThread", self._thread)
                token, positions = await thread.assigned_positions(assigned)
        except OperatorError as error:
            crash("cannot take the assigned partitions", error)
        self._assignment_token = token
        self._books = {tp: PartitionBook(position) for tp, position in positions.items()}
        await self._batch_app.on_batches_assigned(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    # -- fetching

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:  # noqa: ASYNC109  (as in the base class)
        self._check_deliveries()
        wanted = {
            tp
            for tp in active_partitions or ()
            if (book := self._books.get(tp)) is not None and book.tail - book.position < AHEAD_OFFSETS
        }
        if sum(book.bytes_in_flight for book in self._books.values()) >= BYTES_IN_FLIGHT:
            wanted.clear()
        if not wanted:
            await asyncio.sleep(0.005)
            return {}
        busy = len(wanted) < len(active_partitions or ())
        fetched = await super()._getmany(wanted, 0.02 if busy else timeout)
        entered: dict[str, list[Batch]] = {}
        for tp, batches in fetched.items():
            entered.setdefault(tp.topic, []).extend(batch for batch in batches if self._enter(tp, batch))
        now = time.monotonic()
        deliveries = [Delivery(now, batches) for batches in entered.values() if batches]
        self._undelivered += deliveries
        records = map(_as_one, deliveries)
        return {TP(record.topic, record.partition): [record] for record in records}

    def _enter(self, tp: TP, batch: Batch) -> bool:
        if batch.assignment is not self._assignment_token or tp not in self._books:
            return False
        try:
            went_back = self._books[tp].fetched(batch.start, batch.next, batch.size)
        except HoleError as error:
            crash(f"records of {tp.topic}[{tp.partition}] are missing: {error}")
        if went_back:
            self._forget_from(tp, batch.start)
        return True

    def _forget_from(self, tp: TP, position: int) -> None:
        """Expect no more what was fetched behind a position; it is fetched again."""
        self._batch_app.forget(tp.topic, tp.partition, position)
        for delivery in self._undelivered:
            delivery.batches = [
                b for b in delivery.batches if (b.topic, b.partition) != tp or b.next <= position
            ]
        self._undelivered = [delivery for delivery in self._undelivered if delivery.batches]

    def delivered(self, delivery: Delivery) -> list[Batch]:
        """Note that the agents have a delivery; give its batches of this assignment: others must be left.

        A topic's batches come in the order in which they were fetched. Where one was left out, nothing behind
        it may be worked on: states would have a revision that says they know it. What was struck out is in no
        delivery any more.
        """
        if delivery in self._undelivered:
            topic = delivery.batches[0].topic
            for before in self._undelivered[: self._undelivered.index(delivery)]:
                if before.batches[0].topic == topic:
                    _crash_undelivered(before.batches[0])
            self._undelivered.remove(delivery)
        return [batch for batch in delivery.batches if batch.assignment is self._assignment_token]

    def _check_deliveries(self) -> None:
        if not self._undelivered or not self.flow_active:
            return
        first = self._undelivered[0]
        waited = time.monotonic() - first.fetched_at
        if waited > DELIVERY_DEADLINE_SECONDS and not self._batch_app.batches_in_work():
            _crash_undelivered(first.batches[0])

    def held_partitions(self) -> list[tuple[str, int]]:
        """Give the partitions that are ours, by topic and number."""
        return [(tp.topic, tp.partition) for tp in self._books]

    def fetch_positions(self) -> dict[TP, int]:
        """Give where the fetch stands in our partitions.

        Of one whose last batch has not come into its book, where the book ends: that batch is missing.
        """
        thread = cast("BatchConsumerThread", self._thread)
        assignment = thread._ensure_consumer()._subscription.subscription.assignment
        return {
            tp: min(position, book.tail) if thread.handed_over.get(tp, 0) > book.tail else position
            for tp, position in _positions(assignment, list(self._books)).items()
            if (book := self._books.get(tp)) is not None
        }

    def stuck_since(
        self, ends: Mapping[tuple[str, int], int], fetched: Mapping[TP, int], now: float
    ) -> float | None:
        """Say since when a partition of ours has had records and made no progress, None if none has.

        Args:
            ends: the offset after the last record of partitions.
            fetched: where the fetch stands; behind what is done there may be only transaction markers.
            now: of a clock that never goes back, in seconds.
        """
        found: dict[TP, tuple[int, float]] = {}
        for tp, book in self._books.items():
            end = ends.get(tp)
            if end is None:
                continue
            through = book.in_flight == 0 and fetched.get(tp, 0) >= end
            was_cut_off = end < book.position  # found out about when the worker starts again
            if was_cut_off or (end > book.position and not through):
                position, since = self._standing.get(tp, (book.position, now))
                found[tp] = (book.position, since if position == book.position else now)
        self._standing = found
        return min((since for _position, since in found.values()), default=None)

    # -- done and committed

    def done(self, batch: Batch) -> None:
        """Note that all agents of its topic are through with a batch: it may be committed."""
        if batch.assignment is self._assignment_token:
            self._books[TP(batch.topic, batch.partition)].done(batch.start, batch.next)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        yield from super()._filter_tps_with_pending_acks(topics)
        yield from (tp for tp in self._books if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        book = self._books.get(tp)
        return book.position if book is not None else super()._new_offset(tp)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        failpoint("commit.before")
        committed = await super()._commit(offsets)
        failpoint("commit.after")
        return committed

    def books_in_flight(self) -> Counter[str]:
        """Give the number of batches under way by topic."""
        return Counter({tp.topic: book.in_flight for tp, book in self._books.items() if book.in_flight})


def _crash_undelivered(batch: Batch) -> None:
    crash(f"a batch of {batch.topic}[{batch.partition}] from {batch.start} never reached its agent")


@contextlib.contextmanager
def _deadline(what: str) -> Iterator[None]:
    """End the process when a part of a rebalance hangs, as it can when an assignment is gone meanwhile."""
    timer = asyncio.get_running_loop().call_later(
        REBALANCE_SECONDS, crash, f"{what} took {REBALANCE_SECONDS:.0f} s"
    )
    try:
        yield
    finally:
        timer.cancel()


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with the batch consumer."""

    Consumer = BatchConsumer
