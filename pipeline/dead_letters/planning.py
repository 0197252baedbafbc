"""What is to be sent for a dead letter, or why nothing can be. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple, cast

from pipeline.dead_letters.letters import Identity, Letter, canonical_id, event_id_of
from pipeline.dead_letters.new_ids import new_event_id
from pipeline.dead_letters.patching import Patch, UnfitError, correct
from streams.dead_letters import Reason
from streams.events import MAX_EVENT_BYTES, STREAMS, Stream, key_of
from streams.ingest.messages import Message
from streams.topics import raw_topic
from streams.transport import to_headers


class Planned(NamedTuple):
    """What is sent for a letter. `correction` is it once more if it differs from what came, to be stored."""

    letter: Letter
    payload: bytes
    correction: bytes | None

    @property
    def may_be_counted_before(self) -> bool:
        """Whether sessions may have counted the record under another event id.

        They merge an event while the database decides whether it becomes a fact: one that a sink refused is
        in them, and comes to them once more as another event.
        """
        before, after = canonical_id(self.letter.event_id), event_id_of(self.payload)
        return self.letter.stage == "sink" and before != after and self.letter.stream != "system-logs"

    def to_message(self) -> Message:
        """Give the record for the raw topic, keyed as the ingest keys it."""
        transport = self.letter.next_transport()
        return Message(
            raw_topic(cast("Stream", self.letter.stream)),
            key_of(self.payload, transport.partition_key),
            self.payload,
            to_headers(transport),
        )


class Refused(NamedTuple):
    """A letter that is not sent, and why."""

    letter: Letter
    why: str


@dataclass
class Planner:
    """Decides letter by letter what is sent.

    Args:
        patch: applied to the record as it came, never to an earlier correction: so doing it twice is doing it
            once. Without one, what was sent last is sent again.
        new_event_ids: give each event an event id of its own (`new_event_id`).
        as_it_came: forget an earlier correction.
    """

    patch: Patch | None = None
    new_event_ids: bool = False
    as_it_came: bool = False
    _given: dict[str, Identity] = field(default_factory=dict)

    def plan(self, letter: Letter, came: bytes | None) -> Planned | Refused:
        """Plan one letter.

        Args:
            letter: as it is stored.
            came: the record's bytes as they came, None if nothing has kept them.
        """
        if letter.stream not in STREAMS:
            return Refused(
                letter,
                f"it is a record of the topic {letter.stream}, which no producer sent: there is no raw topic "
                f"to send it to. What stands behind it is in bronze, and `pipeline rebuild` makes it again; "
                f"then discard this one",
            )
        try:
            payload = self._payload(letter, came)
        except UnfitError as error:
            return Refused(letter, str(error))
        why_not = self._objection(letter, came, payload)
        return Refused(letter, why_not) if why_not else Planned(letter, payload, _unless(came, payload))

    def _payload(self, letter: Letter, came: bytes | None) -> bytes:
        corrects = self.patch is not None or self.new_event_ids
        if not corrects and letter.replayed_payload is not None and not self.as_it_came:
            return letter.replayed_payload
        if came is None:
            raise UnfitError("its payload is kept neither here nor in bronze")
        if not corrects:
            return came
        if not self.new_event_ids:
            return correct(came, self.patch)
        event_id = new_event_id(cast("Stream", letter.stream), came, self.patch)
        return correct(came, self.patch, event_id=event_id)

    def _objection(self, letter: Letter, came: bytes | None, payload: bytes) -> str | None:
        if len(payload) > MAX_EVENT_BYTES:
            return f"it has {len(payload)} bytes, and over {MAX_EVENT_BYTES} are refused again"
        before, after = event_id_of(came or b""), event_id_of(payload)
        if letter.reason == Reason.CONFLICTING_EVENT_ID and after == canonical_id(letter.event_id):
            return (
                f"another event is stored under its event_id {after}, and stays: give it one of its own with "
                f"--new-event-id or a patch"
            )
        # An id that was made here is that of what the record says: two that have it are one event.
        if after is not None and after != before and not self.new_event_ids:
            other = self._given.setdefault(after, letter.identity)
            if other != letter.identity:
                return f"the patch gives it the event_id {after}, which it gave to {other} already"
        return None


def _unless(came: bytes | None, payload: bytes) -> bytes | None:
    return None if payload == came else payload
