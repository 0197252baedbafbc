"""Dead letters built for tests."""

import json
from datetime import UTC, datetime
from typing import Any

from pipeline.dead_letters.letters import Letter

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPOCH_MS = 1_700_000_000_000
EVENT_ID = "6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a01"
OTHER_ID = "6f1d9c1e-2a55-4c0e-9d3b-0f6a1c2e7a02"


def viewed(**changes: Any) -> bytes:
    """A page view as it is sent; a field that is None is left out."""
    event = {
        "event_id": EVENT_ID,
        "event_type": "page_viewed",
        "occurred_at": "2026-03-01T11:59:00Z",
        "anonymous_id": "v-1",
        **changes,
    }
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def a_letter(**changes: Any) -> Letter:
    values: dict[str, Any] = {
        "stream": "product-events",
        "stream_epoch": EPOCH_MS,
        "shard": "shardId-0",
        "sequence_number": "1",
        "sub_sequence_number": 0,
        "partition_key": "key",
        "stage": "clean",
        "reason": "missing_field",
        "errors": [{"path": "$.anonymous_id", "message": "this or customer_id is required"}],
        "payload": viewed(anonymous_id=None),
        "event_id": EVENT_ID,
        "event_type": "page_viewed",
        "occurred_at": NOON,
        "arrived_at": NOON,
        "failed_at": NOON,
        "processor": "clean-product-events",
        "processor_version": "1",
        "status": "pending",
        "attempt": 0,
        "replayed_payload": None,
        "updated_at": NOON,
    }
    return Letter(**{**values, **changes})
