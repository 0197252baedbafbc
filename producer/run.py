"""One run of the synthetic shop: which records it makes, and sending them."""

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count as counting
from typing import Final, Protocol

from producer.flaws import Flaws, spoil_events
from producer.kinesis import MAX_BATCH_RECORDS
from producer.ledger import LedgerSummary
from producer.records import Record
from producer.shop.draws import DAY, HOUR
from producer.shop.world import ShopConfig, shop_events
from streams.events import Stream
from streams.failpoints import failpoint

EVENTS_PER_CUSTOMER: Final = 200
FEWEST_EVENTS_PER_CUSTOMER: Final = 25
LIVE_HOURS: Final = 6
LIVE_CUSTOMERS: Final = 400
TICK_SECONDS: Final = 0.1
FLUSH_RECORDS: Final = 8_000


class ProduceError(ValueError):
    """The run cannot be made as asked; the message is one line and says why."""


@dataclass(frozen=True)
class ProduceConfig:
    """What to produce: a history (no `rate`), or events as they happen now (with one).

    Args:
        seed: of everything. Customers, devices and products of one seed are the same in every run with it;
            orders, subscriptions, visitors and event ids are each run's own.
        count: number of records in all, duplicates and broken ones included; None: endless (live only).
        rate: records a second; each event happens when it is sent. None: a history, as fast as it goes.
        end: end of the history (live: when the run begins; orders and event ids depend on it).
        days: length of the history.
        customers: how many; None: one for 200 records.
        late: share of the facts that are sent more than 30 minutes of event time late.
        duplicates: share of the records that repeat an earlier one.
        broken: share of the records that are broken.

    Raises:
        ProduceError: the values contradict each other.
    """

    seed: int
    end: datetime
    count: int | None = 20_000
    rate: float | None = None
    days: float = 180.0
    customers: int | None = None
    late: float = 0.0
    duplicates: float = 0.0
    broken: float = 0.0

    def __post_init__(self) -> None:
        if self.count is None and self.rate is None:
            raise ProduceError("a history needs a count; without one give a rate")
        if self.count is not None and self.count < 1:
            raise ProduceError(f"the count must be at least 1, not {self.count}")
        if self.rate is not None and self.rate <= 0:
            raise ProduceError(f"the rate must be above 0, not {self.rate:g}")
        if not 0 < self.days <= 3650:  # noqa: PLR2004  (ten years)
            raise ProduceError(f"the days must be above 0 and at most 3650, not {self.days:g}")
        for name in ("late", "duplicates", "broken"):
            share = getattr(self, name)
            if not 0 <= share <= 0.3:  # noqa: PLR2004  (workers stop when half of the records are broken)
                raise ProduceError(f"the share of {name} must be from 0 to 0.3, not {share:g}")
        most = (self.count or 1_000_000) // FEWEST_EVENTS_PER_CUSTOMER
        if self.customers is not None and not 1 <= self.customers <= max(1, most):
            raise ProduceError(
                f"{self.customers} customers do not fit into {self.count} events: from 1 to {max(1, most)} do"
            )


@dataclass
class Summary:
    """What a run or a load has sent; `totals` counts acknowledged records only."""

    totals: LedgerSummary = field(default_factory=LedgerSummary)
    seconds: float = 0.0
    stopped: bool = False

    @property
    def per_second(self) -> float:
        """Records a second."""
        return self.totals.records / self.seconds if self.seconds else 0.0


class Writer(Protocol):
    """Where records go; `producer.kinesis.KinesisWriter` is one."""

    def put(
        self, stream: Stream, records: Sequence[Record], acknowledged: Callable[[Sequence[Record]], None]
    ) -> None:
        """Send records of one stream, in order; report those that got through."""


class Ledger(Protocol):
    """Where the truth is written; `producer.ledger.LedgerWriter` is one."""

    def write(self, records: Sequence[Record]) -> None:
        """Keep records that were acknowledged."""


def now() -> datetime:
    """Give the present instant, in whole milliseconds."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)


def make_records(config: ProduceConfig, clock: Callable[[], datetime] = now) -> Iterator[Record]:
    """Make the records of a run, in sending order; the same for the same configuration.

    Live events ask `clock` for their instant when they are taken from the iterator; all else about them is
    determined too. An endless run is one stretch of at least six hours after another.
    """
    live = config.rate is not None
    for chapter in counting():
        total = config.count
        if total is None:
            total = max(1_000, int((config.rate or 1) * LIVE_HOURS * HOUR))
        tag = _tag(config, chapter)
        span = config.days * DAY if config.rate is None else max(total / config.rate, LIVE_HOURS * HOUR)
        flaws = Flaws(config.late, round(total * config.duplicates), round(total * config.broken))
        facts = max(1, total - flaws.duplicates - flaws.broken)
        end = config.end.timestamp()
        shop = ShopConfig(
            seed=config.seed,
            tag=tag,
            count=facts,
            start=end - span,
            end=end,
            customers=config.customers or _customers(config, total),
            known_share=0.85 if live else 0.15,
        )
        yield from spoil_events(
            shop_events(shop),
            flaws,
            rng=random.Random(f"flaws {shop!r} {flaws!r}"),  # noqa: S311  (a shop, no secret)
            facts=facts,
            span=span,
            end=end,
            clock=clock if live else None,
        )
        if config.count is not None:
            return


def _customers(config: ProduceConfig, total: int) -> int:
    usual = max(1, total // EVENTS_PER_CUSTOMER)
    return min(usual, LIVE_CUSTOMERS) if config.count is None else usual


def _tag(config: ProduceConfig, chapter: int) -> str:
    """Name a run by its configuration, so that another run with the same seed makes other orders."""
    return hashlib.sha256(f"{config!r}/{chapter}".encode()).hexdigest()[:8]


def produce(
    config: ProduceConfig,
    writer: Writer,
    ledger: Ledger | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
    summary: Summary | None = None,
) -> Summary:
    """Make a run's records and send them; blocks until all are acknowledged.

    Args:
        config: what to produce.
        writer: takes the records.
        ledger: takes those that were acknowledged; None: nothing is kept.
        stop: asked between requests; if true the run ends, and `Summary.stopped` says so.
        progress: told how many more records were acknowledged.
        sleep: waits so many seconds.
        summary: to be filled (so that it can be looked at after an error); None: a new one.

    Raises:
        producer.kinesis.KinesisError: the writer's; what was acknowledged before is in the ledger.
    """
    sender = Sender(writer, ledger, progress, summary)
    records = make_records(config)
    if config.rate is None:
        return send_all(records, sender, stop)
    return _send_paced(records, sender, config.rate, stop, sleep)


class Sender:
    """Collects records into full requests and keeps what was acknowledged."""

    def __init__(
        self,
        writer: Writer,
        ledger: Ledger | None,
        progress: Callable[[int], None],
        summary: Summary | None = None,
    ) -> None:
        self.summary = summary or Summary()
        self._writer = writer
        self._ledger = ledger
        self._progress = progress
        self._waiting: dict[Stream, list[Record]] = {}
        self._began = time.monotonic()

    def add(self, record: Record) -> None:
        """Take one more record; sends when a request is full."""
        waiting = self._waiting.setdefault(record.stream, [])
        waiting.append(record)
        if len(waiting) == MAX_BATCH_RECORDS:
            self._send(record.stream)

    def flush(self) -> None:
        """Send all that waits."""
        for stream in self._waiting:
            self._send(stream)

    def _send(self, stream: Stream) -> None:
        records, self._waiting[stream] = self._waiting[stream], []
        if records:
            self._writer.put(stream, records, self._acknowledged)

    def _acknowledged(self, records: Sequence[Record]) -> None:
        failpoint("producer.after_put")
        if self._ledger is not None:
            self._ledger.write(records)
            failpoint("producer.after_ledger")
        for record in records:
            self.summary.totals.add(record)
        self.summary.seconds = time.monotonic() - self._began
        self._progress(len(records))


def send_all(records: Iterable[Record], sender: Sender, stop: Callable[[], bool]) -> Summary:
    """Send records as fast as they are taken, the streams keeping step with each other."""
    for number, record in enumerate(records, 1):
        sender.add(record)
        if number % MAX_BATCH_RECORDS == 0 and stop():
            sender.summary.stopped = True
            return sender.summary
        if number % FLUSH_RECORDS == 0:
            sender.flush()
    sender.flush()
    return sender.summary


def _send_paced(
    records: Iterator[Record],
    sender: Sender,
    rate: float,
    stop: Callable[[], bool],
    sleep: Callable[[float], object],
) -> Summary:
    """Send so many records a second, a tenth of a second's worth at a time."""
    began, taken = time.monotonic(), 0
    while not stop():
        due = int((time.monotonic() - began) * rate) + 1
        while taken < due:
            record = next(records, None)
            if record is None:
                sender.flush()
                return sender.summary
            sender.add(record)
            taken += 1
            if taken % FLUSH_RECORDS == 0 and stop():
                break
        sender.flush()
        ahead = began + taken / rate - time.monotonic()
        sleep(min(1.0, max(TICK_SECONDS, ahead)))
    sender.summary.stopped = True
    return sender.summary
