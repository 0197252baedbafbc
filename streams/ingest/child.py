"""The process that MultiLangDaemon starts for each shard; it speaks the daemon's protocol.

    python -m streams.ingest.child CONFIGURATION

stdout is the protocol, so the real one is put aside before anything else can print. kclpy swallows what a
processor raises and reports success, and a later checkpoint would then skip the batch: so the first exception
ends the process, the daemon ends with it, and after a restart the batch comes again.
"""

import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final, TextIO

import msgspec

from streams import failpoints
from streams.events import Stream
from streams.kafka import KafkaConfig

EXIT_FAILED: Final = 70


class ChildConfig(msgspec.Struct, frozen=True):
    """What a child is told by a file; it can hold a password, so only its owner may read the file."""

    stream: Stream
    epoch: int
    kafka: KafkaConfig
    checkpoint_every_seconds: float
    failpoints: str = ""


class CrashOnError:
    """A record processor around another that ends the process at the first exception."""

    version: Final = 3

    def __init__(self, processor: Any, exit_process: Callable[[int], object] = os._exit) -> None:
        self._processor = processor
        self._exit = exit_process

    def initialize(self, initialize_input: Any) -> None:
        """See `ShardProcessor`."""
        self._run(self._processor.initialize, initialize_input)

    def process_records(self, process_records_input: Any) -> None:
        """See `ShardProcessor`."""
        self._run(self._processor.process_records, process_records_input)

    def lease_lost(self, lease_lost_input: Any) -> None:
        """See `ShardProcessor`."""
        self._run(self._processor.lease_lost, lease_lost_input)

    def shard_ended(self, shard_ended_input: Any) -> None:
        """See `ShardProcessor`."""
        self._run(self._processor.shard_ended, shard_ended_input)

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        """See `ShardProcessor`."""
        self._run(self._processor.shutdown_requested, shutdown_requested_input)

    def _run(self, call: Callable[[Any], None], argument: Any) -> None:
        try:
            call(argument)
        except BaseException:  # noqa: BLE001  (whatever it is, going on would lose the batch)
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
            self._exit(EXIT_FAILED)


def take_stdout() -> TextIO:
    """Give the real stdout and let everything else that prints go to stderr."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return protocol


def main(config_path: str) -> None:
    """Serve one shard until the daemon closes stdin."""
    protocol = take_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # Libraries are loaded only now that whatever they print cannot reach the protocol.
    from streams.ingest.forwarder import KafkaForwarder  # noqa: PLC0415  (see above)
    from streams.ingest.processor import ShardProcessor  # noqa: PLC0415  (see above)
    from streams.ingest.protocol import BatchProcess  # noqa: PLC0415  (see above)

    with open(config_path, "rb") as file:  # noqa: PTH123  (pathlib would be one more import at each start)
        config = msgspec.json.decode(file.read(), type=ChildConfig)
    failpoints.arm(config.failpoints)
    processor = ShardProcessor(
        config.stream,
        config.epoch,
        KafkaForwarder(config.kafka),
        checkpoint_every_seconds=config.checkpoint_every_seconds,
    )
    # A batch is a hundred thousand objects without cycles, which need not be looked through at every 700.
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    BatchProcess(CrashOnError(processor), sys.stdin.buffer, protocol, sys.stderr).run()


if __name__ == "__main__":
    main(sys.argv[1])
