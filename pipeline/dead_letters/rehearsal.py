"""What would become of a replay: the real cleaning rules, in this process, touching nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, cast

import msgspec

from pipeline.dead_letters.letters import Identity
from pipeline.dead_letters.planning import Planned, Refused
from pipeline.dead_letters.store import Stored
from streams.dead_letters import Reason, decode_dead_letter
from streams.engine.batch import Batch, NoState, Output, Stage
from streams.engine.offline import OfflineRecord
from streams.silver import Revision
from streams.topics import DEAD_LETTERS
from streams.transport import TransportIdentity, from_headers

CONFLICT: Final = "$.event_id: another event with this event_id and different content is stored"


class Verdict(NamedTuple):
    """What the rules say of one record: a fact's id and content, or why it is refused again."""

    identity: Identity
    event_id: str | None = None
    content_hash: int | None = None
    reason: str | None = None
    error: str = ""


class Example(NamedTuple):
    """One of the letters that would fail for a reason."""

    identity: Identity
    error: str


@dataclass
class Forecast:
    """What would happen.

    `examples` has one letter a reason; `refused` are those that cannot be sent; `counted_before` are those
    that would be sent under another event id than sessions may have counted them under.
    """

    facts: int = 0
    duplicates: int = 0
    settled: int = 0
    counted_before: int = 0
    failing: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Example] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    _contents: dict[str, int | None] = field(default_factory=dict)

    @property
    def is_clear(self) -> bool:
        """Whether all that was selected would become a fact, or a duplicate of one."""
        return not self.failing and not self.refused

    def add(self, verdicts: Iterable[Verdict], stored: Mapping[str, Stored]) -> None:
        """Count verdicts, given the facts that are stored under their event ids."""
        for verdict in verdicts:
            if verdict.reason is not None:
                self._fail(verdict.reason, verdict.identity, verdict.error)
                continue
            event_id = verdict.event_id or ""
            known = stored[event_id].content_hash if event_id in stored else self._contents.get(event_id)
            if known is None:
                self._contents[event_id] = verdict.content_hash
                self.facts += 1
            elif known == verdict.content_hash:
                self.duplicates += 1
            else:
                self._fail(Reason.CONFLICTING_EVENT_ID.value, verdict.identity, CONFLICT)

    def _fail(self, reason: str, identity: Identity, error: str) -> None:
        self.failing[reason] += 1
        self.examples.setdefault(reason, Example(identity, error))


class _Fact(msgspec.Struct):
    event_id: str
    content_hash: int


_decode_fact = msgspec.json.Decoder(_Fact).decode


def judge(stage: Stage, planned: Sequence[Planned], now: datetime) -> list[Verdict]:
    """Give what a stream's cleaning stage makes of records of that stream.

    Args:
        stage: the cleaning stage; it must not stop on a flood.
        planned: of the stage's stream only.
        now: the wall clock.
    """
    messages = [plan.to_message() for plan in planned]
    at = int(now.timestamp() * 1000)
    records = [
        OfflineRecord(m.key, m.value, cast("Sequence[tuple[str, bytes]]", m.headers), at, i)
        for i, m in enumerate(messages)
    ]
    if not records:
        return []
    batch = Batch(stage.topic, 0, records, 0, len(records), None)
    result = stage.process(batch, NoState(), Revision(0, 0), now)
    stream = planned[0].letter.stream
    return [_verdict(stream, output) for step in result.steps() for output in step.outputs]


def _verdict(stream: str, output: Output) -> Verdict:
    if output.topic == DEAD_LETTERS:
        letter = decode_dead_letter(output.value or b"")
        error = next((f"{e.path}: {e.message}" for e in letter.errors), "")
        identity = Identity(
            letter.stream,
            letter.stream_epoch,
            letter.shard,
            letter.sequence_number,
            letter.sub_sequence_number,
        )
        return Verdict(identity, reason=letter.reason.value, error=error)
    transport: TransportIdentity = from_headers(stream, cast("Iterable[tuple[str, bytes]]", output.headers))
    fact = _decode_fact(output.value or b"")
    return Verdict(Identity(*transport[:5]), fact.event_id, fact.content_hash)
