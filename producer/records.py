"""A record on its way to Kinesis, with what is known of it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from streams.dead_letters import Reason
from streams.events import Stream, key_of

Kind = Literal["fact", "duplicate", "broken"]


@dataclass(slots=True)
class Record:
    """One record: its bytes, where it goes, and what shall become of it.

    `late`: when it was sent, an event of the same stream that happened more than 30 minutes later had been
    sent before it. `reason`: why the pipeline refuses it, for broken ones only. `line`: in its file.
    """

    stream: Stream
    value: bytes
    partition_key: str
    kind: Kind = "fact"
    event_id: str | None = None
    event_type: str | None = None
    occurred_at: datetime | None = None
    late: bool = False
    reason: Reason | None = None
    line: int | None = None


def partition_key_of(value: bytes) -> str:
    """Give the partition key of an event: its own key, or a hash of its bytes where it has none.

    Kinesis takes keys of 1 to 256 characters; a key that does not fit is replaced by the hash.
    """
    hashed = hashlib.sha256(value).hexdigest()[:32]
    key = key_of(value, hashed).decode(errors="replace")
    return key if len(key) <= 256 else hashed  # noqa: PLR2004  (Kinesis' own limit, told above)
