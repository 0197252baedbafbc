"""What the tables say of one event. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from pipeline.dead_letters.letters import Identity, Letter, canonical_id, event_id_of


@dataclass(frozen=True)
class Arrival:
    """A row of bronze."""

    table: str
    identity: Identity
    partition_key: str
    event_id: str | None
    event_type: str | None
    occurred_at: datetime | None
    arrived_at: datetime
    loaded_at: datetime


@dataclass(frozen=True)
class Fact:
    """A row of a fact table, as far as a trace needs it; what the table does not have is null."""

    table: str
    identity: Identity
    event_id: str
    event_type: str
    occurred_at: datetime
    arrived_at: datetime
    loaded_at: datetime
    is_late: bool
    visitor_id: str | None
    customer_id: str | None
    anonymous_id: str | None
    order_id: str | None


@dataclass(frozen=True)
class Session:
    """The session that an event lies in."""

    session_id: str
    visitor_id: str
    customer_id: str | None
    started_at: datetime
    ended_at: datetime
    events: int
    channel: str | None
    is_bot: bool
    updated_at: datetime


@dataclass(frozen=True)
class Late:
    """A row of the late ledger."""

    event_id: str
    lateness_seconds: float
    outcome: str
    loaded_at: datetime


@dataclass(frozen=True)
class Link:
    """A visitor and a customer that were seen together."""

    anonymous_id: str
    customer_id: str
    seen_at: datetime


@dataclass(frozen=True)
class Order:
    """An order in gold; `event_id` is the purchase that it is counted by."""

    order_id: str
    event_id: str
    ordered_at: datetime
    order_number: int
    revenue: Decimal
    purchases_seen: int


@dataclass(frozen=True)
class Gold:
    """What the last run of gold has computed: `built_at` is when it began, null if none has; `order` if any.

    Of a run that is not `is_published`, a test did not hold, and what gold has is of an earlier one.
    """

    built_at: datetime | None = None
    is_published: bool = True
    order: Order | None = None


@dataclass(frozen=True)
class Hop:
    """A sample: when an event had come out of a hop, and how old it was since its arrival."""

    hop: str
    at: datetime
    age_seconds: float


@dataclass
class Trace:
    """All that was found of what was asked for: an event id, or an identity.

    `session_retention_days` is the setting, 0 if sessions are kept for ever; `asked_at` the wall clock.
    """

    asked: str
    asked_at: datetime
    session_retention_days: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    session: Session | None = None
    late: list[Late] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    gold: Gold = field(default_factory=Gold)
    hops: list[Hop] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        """Whether anything of it has arrived."""
        return bool(self.arrivals or self.letters or self.facts)

    def id_it_came_under(self, identity: Identity) -> str | None:
        """Give the event id that a record came under, as facts spell it, before any correction."""
        letter = self.letter_of(identity)
        arrival = next((arrival for arrival in self.arrivals if arrival.identity == identity), None)
        if letter is not None and letter.payload is not None:
            return event_id_of(letter.payload)
        return canonical_id(arrival.event_id) if arrival is not None else None

    def letter_of(self, identity: Identity) -> Letter | None:
        """Give the dead letter of a record."""
        return next((letter for letter in self.letters if letter.identity == identity), None)
