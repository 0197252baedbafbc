"""What must be true of any record that cleaning is given, from its bytes to the rows of the sinks."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from jsonschema import Draft202012Validator
from mutations import mutate, random_headers, stream_for

from processors.clean.channels import read_channels
from processors.clean.facts import Enrichment
from processors.clean.stage import CleanStage
from processors.rates import read_rates
from producer.run import ProduceConfig, make_records
from sinks.mapping.bronze import bronze_row
from sinks.mapping.dead_letters import letter_row
from sinks.mapping.facts import facts_of
from streams.dead_letters import Reason, decode_dead_letter
from streams.engine.batch import Batch, Output, placed
from streams.events import STREAMS, Stream, key_of
from streams.json_schema import schema_of
from streams.silver import Revision
from streams.topics import DEAD_LETTERS, MAX_MESSAGE_BYTES
from streams.transport import TransportIdentity, identity_of, to_headers

END: Final = datetime(2026, 6, 1, tzinfo=UTC)
ARRIVED_MS: Final = int(END.timestamp() * 1000)
CORPUS: Final = Path(__file__).with_name("corpus")
MARGIN: Final = 10_000
"""Bytes of a message that headers and its own frame may take."""
_RATES: Final = Path(__file__).parents[2] / "dbt" / "seeds" / "exchange_rates.csv"


class ARecord(NamedTuple):
    """A Kafka record."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    offset: int
    key: bytes | None = b"k"
    timestamp: int = ARRIVED_MS


class Judged(NamedTuple):
    """What became of a batch: how many facts, dead letters by reason, and all outputs."""

    reasons: "Counter[str]"
    outputs: list[Output]


class NoState:
    """Watermarks that begin anew with each batch."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002  (a reader of nothing)
        return None

    def keys_below(self, bound: bytes, limit: int) -> list[bytes]:  # noqa: ARG002  (a reader of nothing)
        return []


@cache
def stages() -> dict[Stream, CleanStage]:
    enrichment = Enrichment(read_rates(_RATES, "USD"), read_channels(own_hosts=("shop.example.com",)))
    return {s: CleanStage(s, enrichment, timedelta(minutes=30), accept_flood=True) for s in STREAMS}


@cache
def seeds() -> list[tuple[Stream, bytes]]:
    """Records of the shop, right and broken ones, of each type about as many; and the corpus."""
    config = ProduceConfig(seed=11, end=END, count=6_000, days=60, late=0.02, duplicates=0.0, broken=0.03)
    by_type: dict[str, list[tuple[Stream, bytes]]] = {}
    for record in make_records(config):
        by_type.setdefault(record.event_type or "", []).append((record.stream, record.value))
    chosen = [each for records in by_type.values() for each in records[:12]]
    return chosen + [(stream, value) for _name, stream, value in corpus()]


def corpus() -> Iterator[tuple[str, Stream, bytes]]:
    """Give the corpus: name, stream and bytes of each record."""
    for path in sorted(CORPUS.iterdir()):
        stream = next(s for s in STREAMS if path.name.startswith(s))
        yield path.name, stream, path.read_bytes()


def hostile_records(rng: random.Random, count: int) -> dict[Stream, list[ARecord]]:
    """Make records out of the seeds, for each stream."""
    chosen, values = seeds(), [value for _stream, value in seeds()]
    records: dict[Stream, list[ARecord]] = {s: [] for s in STREAMS}
    for number in range(count):
        stream, value = rng.choice(chosen)
        stream = stream_for(rng, stream, STREAMS)
        identity = TransportIdentity(stream, 1, "s-0", str(number), 0, "k", ARRIVED_MS)
        headers: Any = to_headers(identity)
        timestamp = ARRIVED_MS if rng.random() < 0.97 else rng.choice((-1, 0, 2**62, -(2**62)))
        record = ARecord(mutate(rng, value, values), random_headers(rng, headers), number, b"k", timestamp)
        records[stream].append(record)
    return records


def judge(stream: Stream, records: Sequence[ARecord], *, thorough: bool = True) -> Judged:
    """Clean a batch and hold the outcome to every promise.

    Raises:
        AssertionError: a promise is broken; the record is in the message.
    """
    stage = stages()[stream]
    batch = Batch(stage.topic, 0, records, 0, len(records), None)
    result = stage.process(batch, NoState(), Revision(0, 0), END)
    assert len(result.outputs) == len(records)
    of_identity = {identity_of(stream, 0, record)[1:5]: record for record in records}
    assert len(of_identity) == len(records), "each record of the fuzz has its own identity"
    reasons: Counter[str] = Counter()
    for output in result.outputs:
        assert len(output.value or b"") + len(output.key or b"") < MAX_MESSAGE_BYTES - MARGIN
        if output.topic == DEAD_LETTERS:
            identity, reason = _judge_letter(output, of_identity)
        else:
            identity, reason = _judge_fact(stream, output), "accepted"
            if thorough:
                _judge_schema(stream, of_identity[identity])
        record = of_identity.pop(identity)  # a KeyError: two outputs of one record
        reasons[reason] += 1
        if thorough:
            _judge_reason(record.value or b"", reason)
            _judge_neighbours(stream, record)
    return Judged(reasons, result.outputs)


def _judge_letter(output: Output, of_identity: dict[Any, ARecord]) -> tuple[Any, str]:
    letter = decode_dead_letter(output.value or b"")
    row = letter_row(letter)
    identity = (letter.stream_epoch, letter.shard, letter.sequence_number, letter.sub_sequence_number)
    record = of_identity[identity]
    assert letter.reason is not Reason.PROCESSING_ERROR, (record.value, letter.errors)
    assert letter.errors, record
    assert letter.payload is None or letter.payload == (record.value or b"")
    _judge_row(row)
    return identity, letter.reason.value


def _judge_fact(stream: Stream, output: Output) -> Any:
    record = ARecord(output.value, output.headers, 1, output.key)  # type: ignore[arg-type]  # they are bytes
    found = facts_of(output.topic, placed([record], 0))
    assert not found.refused, (output, found.refused)
    assert not found.foreign, (output, found.foreign)
    (fact,) = found.facts
    assert fact.identity.stream == stream, output
    _judge_row(fact.row)
    return fact.identity[1:5]


def _judge_row(row: Sequence[Any]) -> None:
    """Hold a row to what Postgres can store."""
    for value in row:
        if isinstance(value, str):
            assert "\0" not in value, row
            value.encode()
        elif isinstance(value, Decimal):
            assert value.is_finite(), row
            assert abs(value) < Decimal(10) ** 14, row
        elif isinstance(value, int):
            assert -(2**63) <= value < 2**63, row
        elif isinstance(value, float):
            assert abs(value) < float("inf"), row
        elif isinstance(value, datetime):
            assert value.tzinfo is not None, row


def _judge_reason(value: bytes, reason: str) -> None:
    """Hold the first reasons of the list to what Python's own decoders say."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        assert reason in ("not_utf8", "too_large", "invalid_value"), value  # the last: nested too deep
        return
    assert reason != "not_utf8", value
    try:
        event = json.loads(text, parse_int=_integer, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        assert reason in ("not_json", "too_large", "invalid_value"), value
        return
    assert reason != "not_json", value
    assert (reason == "not_an_object") == (not isinstance(event, dict)) or reason == "invalid_value", value


def _integer(text: str) -> int:
    return int(text[:1000])  # Python refuses to read thousands of digits


def _no_constant(name: str) -> None:
    raise ValueError(name)


@cache
def _validator(stream: Stream) -> Draft202012Validator:
    return Draft202012Validator(schema_of(stream))


def _judge_schema(stream: Stream, record: ARecord) -> None:
    """What cleaning accepts the schema for producers accepts."""
    event = json.loads((record.value or b"").decode(), parse_int=_integer)
    errors = list(_validator(stream).iter_errors(event))
    assert not errors, (record.value, errors[0].message)


def _judge_neighbours(stream: Stream, record: ARecord) -> None:
    """The key of a raw topic and the row of bronze are made of the same bytes."""
    key_of(record.value or b"", "k")
    _judge_row(
        [each for each in bronze_row(identity_of(stream, 0, record), record.value or b"") if each != b""]
    )
