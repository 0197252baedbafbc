"""This project's engine (`streams.engine`) with the benchmark's stage, as its user would write it.

python -m bench.stage.ours BOOTSTRAP INPUT OUTPUT GROUP FOLDER
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from bench.stage.session import (
    Event,
    Session,
    add_event,
    decode_event,
    decode_events,
    encode_session,
    pack_state,
    unpack_state,
)
from bench.stage.workload import PARTITIONS
from streams.engine.app import create_app, run_worker
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.engine.config import EngineConfig
from streams.kafka import KafkaConfig
from streams.silver import Revision

STAGE: Final = "sessions"
DEAD_LETTERS: Final = "dead-letters"


class SessionStage:
    """Keeps a customer's session and sends it for each event."""

    name = STAGE
    stateful = True
    state_settings: Mapping[str, str] = MappingProxyType({"gap": "30 min"})

    def __init__(self, topic: str, output: str) -> None:
        self.topic = topic
        self._output = output

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (the engine's signature)
        """Fold the batch per customer."""
        outputs: list[Output] = []
        sessions: dict[bytes, Session] = {}
        topic = self._output
        for record, event in zip(batch.records, decode(batch.values), strict=True):
            key = record.key
            if event is None or key is None:
                outputs.append(Output(DEAD_LETTERS, key, record.value))
                continue
            session = sessions.get(key)
            if session is None:
                packed = state.get(key)
                session = unpack_state(packed, key.decode()) if packed else None
                customer_id = session.customer_id if session else key.decode()
            else:
                customer_id = session.customer_id
            session = add_event(session, customer_id, event.occurred_at_ms, event.amount_cents)
            sessions[key] = session
            outputs.append(Output(topic, key, encode_session(session)))
        return Result(outputs, {key: pack_state(session) for key, session in sessions.items()})


def decode(values: Sequence[bytes]) -> Sequence[Event | None]:
    """Decode a batch as one array, which is faster; one by one if it is not as many events as values."""
    try:
        events: list[Event] = decode_events(b"[" + b",".join(values) + b"]")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        events = []
    if len(events) == len(values):
        return events
    return [_decode_one(value) for value in values]


def _decode_one(value: bytes) -> Event | None:
    try:
        event: Event = decode_event(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return event


def main() -> int:
    """Run one worker until SIGTERM."""
    bootstrap, topic, output, group, folder = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    app = create_app(
        EngineConfig(group, KafkaConfig(bootstrap), PARTITIONS, Path(folder)),
        stages=[SessionStage(topic, output)],
    )
    return run_worker(app)


if __name__ == "__main__":
    sys.exit(main())
