"""The daemon's protocol, with batches of records decoded by their types.

kclpy decodes a batch into dictionaries first, and a record's bytes when they are asked for. A batch of ten
thousand records is a line of several megabytes, and that would be a third of all the child does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from amazon_kclpy import kcl

PROCESS_RECORDS = "processRecords"


class ProtocolRecord(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An `IncomingRecord` as the daemon writes it; its bytes come as base64."""

    sequence_number: str
    sub_sequence_number: int | None
    partition_key: str
    timestamp_millis: int = msgspec.field(name="approximateArrivalTimestamp")
    binary_data: bytes = msgspec.field(name="data")


class Records(msgspec.Struct, frozen=True, tag=PROCESS_RECORDS, tag_field="action"):
    """A batch as the daemon writes it."""

    records: list[ProtocolRecord]


class Batch(NamedTuple):
    """What a record processor is given, by the names of kclpy's inputs."""

    records: Sequence[ProtocolRecord]
    checkpointer: Any


_decode_records = msgspec.json.Decoder(Records).decode


class BatchProcess(kcl.KCLProcess):  # type: ignore[misc]  # kclpy has no types
    """kclpy's process, but for batches; its input has to be binary.

    What the processor raises ends the process here too: it is to be wrapped in `CrashOnError`.
    """

    def _handle_a_line(self, line: bytes) -> None:
        try:
            batch = _decode_records(line)
        except (msgspec.DecodeError, UnicodeDecodeError):  # another message, or text that only kclpy takes
            super()._handle_a_line(line)
            return
        self.processor.process_records(Batch(batch.records, self.checkpointer))
        self._report_done(PROCESS_RECORDS)
