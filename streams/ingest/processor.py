"""The record processor: KCL's five calls for one shard.

Every record of a batch is acknowledged by Kafka before the batch may be checkpointed. An exception that
leaves a method means that the process must end without a checkpoint; see `streams.ingest.child`.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from amazon_kclpy.checkpoint_error import CheckpointError

from streams.events import Stream
from streams.failpoints import failpoint
from streams.ingest.checkpoints import CheckpointSchedule, Position
from streams.ingest.forwarder import Forwarder
from streams.ingest.messages import Source, to_messages

log = logging.getLogger(__name__)

THROTTLED: Final = "ThrottlingException"
LEASE_GONE: Final = "ShutdownException"
LAST_ATTEMPTS: Final = 6  # with waits of 0.5 s, 1 s, … between: 15 s in all


class Checkpointer(Protocol):
    """Saves how far a shard is done; kclpy's or the in-process driver's."""

    def checkpoint(self, sequence_number: str | None = None, sub_sequence_number: int | None = None) -> None:
        """Save a position, or the end of the shard when there is none.

        Raises:
            CheckpointError: its `value` is the name of KCL's exception.
        """


class ShardProcessor:
    """Copies one shard of a stream to its raw topic; KCL's interface for processors, version 3.

    Args:
        stream: the stream that the shard is of.
        epoch: the stream's creation time, milliseconds since 1970.
        forwarder: where records go.
        checkpoint_every_seconds: the shortest time between two checkpoints.
        clock: seconds, never going back.
        sleep: waits for seconds.
    """

    version: Final = 3  # kclpy asks for it

    def __init__(
        self,
        stream: Stream,
        epoch: int,
        forwarder: Forwarder,
        *,
        checkpoint_every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stream: Stream = stream
        self._epoch = epoch
        self._forwarder = forwarder
        self._schedule = CheckpointSchedule(checkpoint_every_seconds)
        self._clock = clock
        self._sleep = sleep
        self._source: Source | None = None
        self._lease_gone = False

    def initialize(self, initialize_input: Any) -> None:
        """Take up the shard `initialize_input.shard_id`."""
        self._source = Source(self._stream, self._epoch, initialize_input.shard_id)
        log.info("%s %s: from %s", self._stream, self._source.shard, initialize_input.sequence_number)

    def process_records(self, process_records_input: Any) -> None:
        """Forward a batch, wait for all acknowledgements, then checkpoint if it is time; it can be empty.

        Raises:
            ForwardError: Kafka did not acknowledge everything.
            CheckpointError: anything but throttling or a lost lease.
        """
        if self._lease_gone:
            return  # another worker owns the shard and forwards this
        if self._source is None:
            raise RuntimeError("process_records came before initialize")
        records = process_records_input.records
        if records:
            self._forwarder.forward(to_messages(self._source, records))
            last = records[-1]
            self._schedule.acknowledge(Position(last.sequence_number, last.sub_sequence_number or 0))
        position = self._schedule.due(self._clock())
        if position is not None:
            self._save(process_records_input.checkpointer, position)

    def lease_lost(self, _lease_lost_input: Any) -> None:
        """Stop; another worker owns the shard, so nothing is checkpointed."""
        self._lease_gone = True

    def shard_ended(self, shard_ended_input: Any) -> None:
        """Checkpoint the end of the shard, or KCL never starts its children.

        Everything is acknowledged by now: `process_records` does not return before.

        Raises:
            CheckpointError: it could not be saved.
        """
        self._save_at_last(shard_ended_input.checkpointer, None)

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        """Checkpoint what is acknowledged, so that whoever goes on reads nothing again.

        Raises:
            CheckpointError: it could not be saved.
        """
        if self._schedule.pending is not None and not self._lease_gone:
            self._save_at_last(shutdown_requested_input.checkpointer, self._schedule.pending)

    def _save(self, checkpointer: Checkpointer, position: Position) -> None:
        failpoint("ingest.before_checkpoint")
        try:
            checkpointer.checkpoint(position.sequence_number, position.sub_sequence_number)
        except CheckpointError as error:
            if error.value == THROTTLED:
                self._schedule.throttled(self._clock())
            elif error.value == LEASE_GONE:
                self._lease_gone = True
            else:
                raise
        else:
            failpoint("ingest.after_checkpoint")
            self._schedule.saved(self._clock())

    def _save_at_last(self, checkpointer: Checkpointer, position: Position | None) -> None:
        for attempt in range(LAST_ATTEMPTS):
            try:
                if position is None:
                    checkpointer.checkpoint()
                else:
                    checkpointer.checkpoint(position.sequence_number, position.sub_sequence_number)
            except CheckpointError as error:
                if error.value == LEASE_GONE:
                    self._lease_gone = True
                    return
                if error.value != THROTTLED or attempt == LAST_ATTEMPTS - 1:
                    raise
                self._sleep(0.5 * 2**attempt)
            else:
                self._schedule.saved(self._clock())
                return
