"""The dead letter that a broken record becomes."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from producer.ledger import LedgerLine
from producer.oracle.rows import Letter
from streams.dead_letters import Reason

TEXT_CHARACTERS: Final = 200


def letter_of(line: LedgerLine) -> Letter:
    """Give the row of a broken record."""
    assert line.reason is not None  # noqa: S101  (every broken record has one; for the type checker)
    fields = _readable(line.value)
    return Letter(
        stream=line.stream,
        partition_key=line.partition_key,
        # Only who has stored the first event under an id can tell that another one takes it.
        stage="sink" if line.reason is Reason.CONFLICTING_EVENT_ID else "clean",
        reason=line.reason.value,
        payload=line.value,
        event_id=_text(fields.get("event_id")),
        event_type=_text(fields.get("event_type")),
        occurred_at=_instant(fields.get("occurred_at")),
    )


def _readable(payload: bytes) -> dict[str, Any]:
    """Give the fields of a record; bytes that are no UTF-8 spoil the text they are in, not its neighbours."""
    try:
        found = json.loads(payload.decode(errors="replace"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value[:TEXT_CHARACTERS] if isinstance(value, str) else None


def _instant(value: object) -> datetime | None:
    """Give the instant of a text with an offset; None of any other value."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None
