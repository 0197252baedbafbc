"""What a stage is given and gives back: values only, nothing that does I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from streams.silver import Revision
from streams.transport import Headers


class Record(Protocol):
    """A Kafka record as the driver gives it; `timestamp` is in milliseconds since 1970."""

    @property
    def key(self) -> bytes | None: ...  # noqa: D102  (named by the class)
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102


Placed = tuple[int, Record]
"""A record, and the number of the partition where it stands."""

RECORD_BYTES: Final = 2_000
"""Memory of a record beside its value: the objects of the driver, its headers, what is decoded from it."""


@dataclass(eq=False, slots=True)
class Batch:
    """All that was fetched at once from one partition, in order, at least one record.

    `start` and `next` are the fetch positions before and after it. They are not the records' own offsets:
    transaction markers and compaction leave gaps in offsets that are no losses. `assignment` is the token
    of the partition assignment under which it was fetched.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    start: int
    next: int
    assignment: object
    memo: dict[str, Any] = field(default_factory=dict)
    """Whatever the agents of one topic want to compute once, such as the decoded events."""

    @property
    def values(self) -> Sequence[bytes]:
        """The records' values, empty for null; looked up once."""
        values: Sequence[bytes] | None = self.memo.get("values")
        if values is None:
            values = self.memo["values"] = [record.value or b"" for record in self.records]
        return values

    @property
    def size(self) -> int:
        """About the memory that it takes, in bytes, with what is made of it."""
        return RECORD_BYTES * len(self.records) + sum(map(len, self.values))


def placed(records: Iterable[Record], partition: int) -> list[Placed]:
    """Give records of a partition, each with its number."""
    return [(partition, record) for record in records]


class Output(NamedTuple):
    """A record to send. The partition follows from the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = []  # noqa: RUF012  (never changed; a fresh list for each output would cost)


class StateReader(Protocol):
    """The state of one partition as it was before the batch."""

    def get(self, key: bytes) -> bytes | None:
        """Give the state of a key, None if there is none."""

    def keys_below(self, bound: bytes, limit: int) -> list[bytes]:
        """Give the first keys that have state and are below a bound, in order, at most `limit`."""


class NoState:
    """The reader of a stage that keeps no state."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002  (a reader of nothing)
        """Give None."""
        return None

    def keys_below(self, bound: bytes, limit: int) -> list[bytes]:  # noqa: ARG002  (a reader of nothing)
        """Give no keys."""
        return []


@dataclass(slots=True)
class Result:
    """What a batch leads to: records to send, and the new state of each key it touched (None: no state).

    A key that a replay touches again is in `changes` again, changed or not: what was lost on the way the
    first time heals so.

    Of what is sent together, any part may be lost in a crash. `then` is sent only when all the rest is
    acknowledged: a state that must not be known before its outputs are, or a key that gives up what another
    one has taken over.

    `expired` are keys to delete for good. A key whose state becomes None keeps its revision, so that a stale
    worker cannot bring an older state back; an expired one does not, and costs nothing any more.
    """

    outputs: list[Output] = field(default_factory=list)
    changes: Mapping[bytes, bytes | None] = field(default_factory=dict)
    then: "Result | None" = None
    expired: Sequence[bytes] = ()

    def steps(self) -> Iterator["Result"]:
        """Give this and all that follows, in the order of sending."""
        step: Result | None = self
        while step is not None:
            yield step
            step = step.then


class Stage(Protocol):
    """A pure step: the same batch and state give the same result."""

    @property
    def name(self) -> str:
        """The agent's name, and its table's."""

    @property
    def topic(self) -> str:
        """The topic it reads."""

    @property
    def stateful(self) -> bool:
        """Whether it has a table."""

    @property
    def state_settings(self) -> Mapping[str, str]:
        """What its state was made with (settings, layout of its records): with others it would be wrong."""

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:
        """Compute what the batch leads to. A bad event is an output (a dead letter), never an exception.

        Args:
            batch: records of one partition.
            state: the partition's state before the batch.
            revision: of the state that this batch makes, for what is sent.
            now: the wall clock.
        """


class Sink(Protocol):
    """A step that writes to another system; it has returned only when that is durable there."""

    @property
    def name(self) -> str:
        """The agent's name."""

    @property
    def topic(self) -> str:
        """The topic it reads."""

    def write(self, group: Sequence[Batch]) -> Sequence[Output]:
        """Write batches of different partitions; called in a thread, may block.

        Returns:
            what is to be sent after (dead letters).
        """
