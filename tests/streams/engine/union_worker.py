"""A worker for tests: keeps the set of values of each key, and hands every record on."""

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from streams.engine.app import create_app, run_worker
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.engine.config import EngineConfig
from streams.kafka import KafkaConfig
from streams.silver import Revision


class UnionStage:
    """State: the values seen of a key, by commas. A merge, so any replay gives the same."""

    name = "union"
    stateful = True
    state_settings: Mapping[str, str] = {"flavour": os.environ.get("UNION_FLAVOUR", "plain")}

    def __init__(self, topic: str, output: str) -> None:
        self.topic = topic
        self._output = output

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002
        values: dict[bytes, set[bytes]] = {}
        for record in batch.records:
            key = record.key or b""
            if key not in values:
                values[key] = set((state.get(key) or b"").split(b",")) - {b""}
            values[key].add(record.value or b"")
        outputs = [Output(self._output, record.key, record.value) for record in batch.records]
        return Result(outputs, {key: b",".join(sorted(seen)) for key, seen in values.items()})


def main() -> int:
    bootstrap, app_id, topic, output, state_dir, partitions = sys.argv[1:]
    config = EngineConfig(app_id, KafkaConfig(bootstrap), int(partitions), Path(state_dir), 3.0)
    return run_worker(create_app(config, stages=[UnionStage(topic, output)]))


if __name__ == "__main__":
    sys.exit(main())
