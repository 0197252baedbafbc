"""Sending dead letters again: stored, sent, acknowledged, noted, in that order, some hundreds at a time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.dead_letters import store
from pipeline.dead_letters.letters import Identity, canonical_id, event_id_of
from pipeline.dead_letters.planning import Planned, Planner, Refused
from pipeline.dead_letters.selection import Selection
from streams.ingest.forwarder import Forwarder

CHUNK: Final = 500
"""Letters that are read, sent and noted together."""


@dataclass
class Outcome:
    """What became of the letters of a replay.

    `settled` are those whose own fact was there already; `gone` were no longer in the status they were
    selected in. `counted_before` are those of the sent ones that sessions may have counted under the event id
    that they no longer have. `stopped` is true when it was interrupted before the end.
    """

    sent_letters: list[Identity] = field(default_factory=list)
    corrected: int = 0
    settled: int = 0
    counted_before: int = 0
    gone: int = 0
    refused: list[Refused] = field(default_factory=list)
    topics: Counter[str] = field(default_factory=Counter)
    stopped: bool = False

    @property
    def sent(self) -> int:
        """How many were sent."""
        return len(self.sent_letters)


def replay(
    connection: store.Connection,
    forwarder: Forwarder,
    chosen: Sequence[Identity],
    planner: Planner,
    *,
    statuses: tuple[str, ...],
    outcome: Outcome,
    progress: Callable[[int], None] = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Send letters again; one replay at a time, others wait.

    A letter is noted as replayed only when Kafka has acknowledged it. Killed in between, it is noted by the
    sink as soon as its fact is stored, or has failed again; else the next replay sends it once more, with the
    same identity and attempt, which changes nothing if both arrive.

    Args:
        connection: autocommit.
        forwarder: to Kafka.
        chosen: which letters.
        planner: what is sent for each.
        statuses: a letter that another replay or its own failure has moved out of these is left alone.
        outcome: what became of them, kept up as it goes.
        progress: told how many more were dealt with.
        is_stopped: asked between two chunks.

    Raises:
        ForwardError: Kafka did not acknowledge a chunk. What was noted before stays.
        psycopg.Error: the database does not answer.
    """
    with store.one_at_a_time(connection):
        for start in range(0, len(chosen), CHUNK):
            identities = chosen[start : start + CHUNK]
            if is_stopped():
                outcome.stopped = True
                return
            _replay_chunk(connection, forwarder, identities, planner, statuses=statuses, outcome=outcome)
            progress(len(identities))


def _replay_chunk(
    connection: store.Connection,
    forwarder: Forwarder,
    identities: Sequence[Identity],
    planner: Planner,
    *,
    statuses: tuple[str, ...],
    outcome: Outcome,
) -> None:
    planned, refused, gone = plan_chunk(connection, identities, planner, statuses)
    outcome.gone += gone
    outcome.refused += refused
    done = settled_already(connection, planned)
    to_send = [plan for plan in planned if plan.letter.identity not in done]
    # The correction is stored before it is sent: else a rebuild could lack what a fact was made from.
    store.keep_corrections(connection, [(plan.letter, plan.correction) for plan in to_send])
    messages = [plan.to_message() for plan in to_send]
    if messages:
        forwarder.forward(messages)
    store.mark_replayed(
        connection,
        [
            *((plan.letter, event_id_of(plan.payload)) for plan in to_send),
            *((plan.letter, done[plan.letter.identity]) for plan in planned if plan.letter.identity in done),
        ],
    )
    outcome.sent_letters += (plan.letter.identity for plan in to_send)
    outcome.corrected += sum(plan.correction is not None for plan in to_send)
    outcome.counted_before += sum(plan.may_be_counted_before for plan in to_send)
    outcome.settled += len(done)
    outcome.topics.update(message.topic for message in messages)


def plan_chunk(
    connection: store.Connection,
    identities: Sequence[Identity],
    planner: Planner,
    statuses: tuple[str, ...],
) -> tuple[list[Planned], list[Refused], int]:
    """Read letters and plan them; gives what to send, what cannot be, and how many are no longer there."""
    found = store.letters(connection, Selection(identities=tuple(identities), statuses=statuses))
    came = store.payloads_as_they_came(connection, found)
    plans = [planner.plan(letter, came.get(letter.identity)) for letter in found]
    planned = [plan for plan in plans if isinstance(plan, Planned)]
    refused = [plan for plan in plans if isinstance(plan, Refused)]
    return planned, refused, len(identities) - len(found)


def settled_already(connection: store.Connection, planned: Sequence[Planned]) -> dict[Identity, str]:
    """Give the letters whose own record is a fact by now, with its event id."""
    ids = {
        event_id
        for plan in planned
        for event_id in (canonical_id(plan.letter.event_id), event_id_of(plan.payload))
        if event_id is not None
    }
    facts = store.stored_facts(connection, sorted(ids))
    wanted = {plan.letter.identity for plan in planned}
    return {fact.identity: event_id for event_id, fact in facts.items() if fact.identity in wanted}
