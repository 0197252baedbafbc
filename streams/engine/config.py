"""What a worker needs to know."""

from dataclasses import dataclass
from pathlib import Path

from streams.engine.store import DEFAULT_MEMORY_BYTES
from streams.kafka import KafkaConfig


@dataclass(frozen=True)
class EngineConfig:
    """What a worker needs to know.

    `app_id` is the consumer group. Session time-out and heartbeat decide how long a dead worker keeps its
    partitions. `state_dir` holds the local copies of tables, all of which together hold at most
    `state_memory_bytes` in memory. `how_to_rebuild` is said to an operator whose settings the state does not
    fit, such as " with `command`".
    """

    app_id: str
    kafka: KafkaConfig
    partitions: int
    state_dir: Path
    session_timeout_seconds: float = 10.0
    state_memory_bytes: int = DEFAULT_MEMORY_BYTES
    how_to_rebuild: str = ""
