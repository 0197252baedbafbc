"""The stage: what it sends and in which order, watermarks, floods, dead letters."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from builders import State
from event_examples import ENRICHMENT, EVENT_ID, NOON, example, item, to_bytes
from hypothesis import given
from hypothesis import strategies as st

from processors.clean import stage as stage_module
from processors.clean.facts import Lateness
from processors.clean.stage import MAX_PAYLOAD_BYTES, CleanStage
from processors.clean.watermarks import Watermarks
from streams.dead_letters import DeadLetter, Reason, decode_dead_letter
from streams.engine.batch import Batch, Result
from streams.engine.crash import OperatorError
from streams.events import MAX_EVENT_BYTES, Stream
from streams.facts import decode_visitor_event
from streams.silver import Revision
from streams.topics import CLEAN_EVENTS, DEAD_LETTERS, MAX_MESSAGE_BYTES
from streams.transport import TransportIdentity, from_headers, identity_of, to_headers

GAP = timedelta(minutes=30)


def identity(shard: str = "s-0", arrived_at: datetime = NOON, sequence: int = 1) -> TransportIdentity:
    ms = int(arrived_at.timestamp() * 1000)
    return TransportIdentity("transaction-events", 1, shard, str(sequence), 0, "k", ms)


def make_stage(*, accept_flood: bool = False, stream: Stream = "transaction-events") -> CleanStage:
    return CleanStage(stream, ENRICHMENT, GAP, accept_flood=accept_flood)


def run(
    stage: CleanStage, values: list[Any], *, start: int = 0, headers: Any = None, state: State | None = None
) -> Result:
    records: list[Any] = [
        SimpleNamespace(
            key=b"k",
            value=None if value is None else to_bytes(value),
            headers=to_headers(identity(sequence=start + i)) if headers is None else headers,
            timestamp=5,
            offset=start + i,
        )
        for i, value in enumerate(values)
    ]
    batch = Batch(stage.topic, 3, records, start, start + len(records), None)
    return stage.process(batch, State() if state is None else state, Revision(0, 0), NOON)


def letter_of(result: Result) -> DeadLetter:
    (output,) = result.outputs
    assert output.topic == DEAD_LETTERS
    return decode_dead_letter(output.value or b"")


# outputs


def test_each_record_becomes_one_clean_event_or_one_dead_letter() -> None:
    result = run(make_stage(), [example("purchase"), b"{broken"])
    clean, letter = result.outputs
    assert (clean.topic, clean.key) == (CLEAN_EVENTS, b"c-1")
    assert decode_visitor_event(clean.value or b"").event_id == EVENT_ID
    assert from_headers("transaction-events", clean.headers) == identity(sequence=0)  # type: ignore[arg-type]  # they are bytes
    assert letter.topic == DEAD_LETTERS
    found = decode_dead_letter(letter.value or b"")
    assert (found.reason, found.payload, found.sequence_number) == (Reason.NOT_JSON, b"{broken", "1")
    assert letter.key == b"transaction-events/1/s-0/1/0"


def test_a_dead_letter_shows_what_can_be_read_of_it() -> None:
    found = letter_of(run(make_stage(), [example("purchase", amount=-1, order_id=7)]))
    assert (found.event_id, found.event_type) == (EVENT_ID, "purchase")
    assert [error.path for error in found.errors] == ["$.order_id", "$.amount"]
    assert (found.stage, found.processor, found.failed_at) == ("clean", "clean-transaction-events", NOON)


def test_a_record_without_a_value_is_a_dead_letter() -> None:
    assert letter_of(run(make_stage(), [None])).reason is Reason.NOT_JSON


def test_a_record_of_another_program_has_its_place_in_kafka_as_identity() -> None:
    event = example("purchase", occurred_at="1970-01-01T00:00:00Z")
    (clean,) = run(make_stage(), [event], headers=()).outputs
    found = from_headers("transaction-events", clean.headers)  # type: ignore[arg-type]  # they are bytes
    assert (found.shard, found.sequence_number, found.stream_epoch) == ("kafka-3", "0", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kinesis_arrived_at", b"999999999999999999"),
        ("kinesis_arrived_at", b"-1"),
        ("kinesis_arrived_at", None),
        ("kinesis_shard", None),
        ("kinesis_shard", b"\xff"),
        ("kinesis_stream_epoch", b"9223372036854775808"),
        ("attempt", b"2147483648"),
        ("kinesis_sub_sequence", b"x"),
    ],
)
def test_hostile_headers_are_none(name: str, value: bytes | None) -> None:
    headers = [(n, value if n == name else v) for n, v in to_headers(identity())]
    record = SimpleNamespace(key=b"k", value=b"", headers=headers, timestamp=2**62, offset=9)
    found = identity_of("transaction-events", 3, record)
    assert (found.shard, found.sequence_number, found.arrived_at.year) == ("kafka-3", "9", 1970)
    assert len(run(make_stage(), [example("purchase")], headers=headers).outputs) == 1


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_a_hostile_timestamp_of_kafka_is_not_carried_on(timestamp: int) -> None:
    value, headers = to_bytes(example("purchase")), to_headers(identity())
    record: Any = SimpleNamespace(key=b"k", value=value, headers=headers, timestamp=timestamp, offset=0)
    stage = make_stage()
    (clean,) = stage.process(
        Batch(stage.topic, 3, [record], 0, 1, None), State(), Revision(0, 0), NOON
    ).outputs
    assert "raw_at" not in dict(clean.headers)


def test_a_defect_of_ours_keeps_the_record_as_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("\ud800" * 1_000)

    monkeypatch.setattr(stage_module, "to_fact", fail)
    found = letter_of(run(make_stage(), [example("purchase")]))
    assert (found.reason, found.event_id) == (Reason.PROCESSING_ERROR, EVENT_ID)
    assert found.errors[0].message.startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    "value",
    [
        b"\xff" * MAX_EVENT_BYTES,
        to_bytes(example("purchase", items=[{}] * 200_000))[:MAX_EVENT_BYTES],
        to_bytes(example("purchase", items=[{"quantity": "x" * 90}] * 8_000)),
        to_bytes(example("x" * 0 + "purchase", event_type="\x01" * 150_000)),
        b'{"' + b"\xe2\x80\xa8" * 340_000 + b'":"\\ud800"}',
        b"x" * (MAX_MESSAGE_BYTES - 1000),
    ],
)
def test_the_letter_of_any_record_fits_into_a_message(value: bytes) -> None:
    (output,) = run(make_stage(), [value]).outputs
    assert len(output.value or b"") + len(output.key or b"") < MAX_MESSAGE_BYTES - 10_000
    found = letter_of(run(make_stage(), [value]))
    if len(value) <= MAX_PAYLOAD_BYTES:
        assert found.payload == value
    else:
        assert (found.reason, found.payload) == (Reason.TOO_LARGE, None)
        assert "bronze" in found.errors[-1].message


# floods


def test_a_flood_stops_the_worker_before_the_batch_that_completes_it_is_sent() -> None:
    stage = make_stage()
    assert len(run(stage, [b"{"] * 150).outputs) == 150
    with pytest.raises(
        OperatorError, match=r"raw\.transaction-events\[3\]: 200 of 200 .* not_json .*--accept-flood"
    ):
        run(stage, [b"{"] * 100, start=150)


def test_a_flood_that_is_accepted_goes_on() -> None:
    assert len(run(make_stage(accept_flood=True), [b"{"] * 300).outputs) == 300


def test_records_that_are_replayed_are_no_flood_when_they_fail_again() -> None:
    again = to_headers(identity()._replace(attempt=1))
    stage = make_stage()
    assert len(run(stage, [b"{"] * 300, headers=again).outputs) == 300
    assert len(run(stage, [b"{"] * 150, start=300).outputs) == 150
    with pytest.raises(OperatorError):
        run(stage, [b"{"] * 50, start=450)


def test_a_worker_that_is_started_again_begins_counting_anew() -> None:
    assert len(run(make_stage(), [b"{"] * 150).outputs) == 150
    assert len(run(make_stage(), [b"{"] * 150, start=150).outputs) == 150


# watermarks


def observe(marks: Watermarks, at: datetime, shard: str = "s-0", arrived_at: datetime = NOON) -> Lateness:
    return marks.observe(identity(shard), at, arrived_at)


def test_an_event_is_late_when_over_the_gap_behind_its_own_source() -> None:
    marks = Watermarks(State(), GAP)
    assert not observe(marks, NOON).is_late
    assert not observe(marks, NOON - GAP).is_late
    late = observe(marks, NOON - GAP - timedelta(milliseconds=1))
    assert (late.is_late, late.seconds) == (True, 1800.001)
    assert not observe(marks, NOON - timedelta(hours=5), "s-1").is_late


def test_an_event_from_the_future_does_not_make_everything_else_late() -> None:
    marks = Watermarks(State(), GAP)
    observe(marks, NOON + timedelta(hours=20))
    assert not observe(marks, NOON).is_late
    observe(marks, NOON + timedelta(minutes=5))  # a clock a little ahead does count
    assert observe(marks, NOON - timedelta(minutes=26)).is_late


def test_a_watermark_is_kept_and_never_goes_back() -> None:
    state = State()
    for at in (NOON, NOON - timedelta(days=1)):
        marks = Watermarks(state, GAP)
        observe(marks, at)
        state.take(marks.changes())
    assert [datetime.fromisoformat(mark.decode()) for mark in state.values()] == [NOON]


def test_the_watermark_moves_only_after_everything_of_the_batch_is_acknowledged() -> None:
    result = run(make_stage(), [example("purchase", items=[item()])])
    assert not result.changes
    assert result.then is not None
    assert result.then.changes == {b"1/s-0": NOON.isoformat().encode()}
    assert not result.then.outputs


def test_a_batch_that_comes_again_with_the_watermark_as_it_was_gives_the_same_again() -> None:
    events = [
        example("purchase", occurred_at=at)
        for at in ("2026-03-01T11:00:00Z", "2026-03-01T11:59:00Z", "2026-03-01T11:10:00Z")
    ]
    first, again = run(make_stage(), events), run(make_stage(), events)
    assert first == again
    assert [decode_visitor_event(o.value or b"").is_late for o in first.outputs] == [False, False, True]


def test_refused_records_do_not_move_the_watermark() -> None:
    assert run(make_stage(), [example("purchase", amount=-1), b"{"]).then is None


def test_the_state_depends_on_no_setting() -> None:
    assert "gap_seconds" not in make_stage().state_settings


# batches

minutes = st.integers(-600, 60)
shards = st.sampled_from(["s-0", "s-1"])
kinds = st.sampled_from(["purchase", "broken"])


def cleaned(given: list[tuple[int, str, str]], cuts: set[int], lost: set[int]) -> list[tuple[Any, ...]]:
    """Clean events cut into batches; after those in `lost` the worker dies before the watermark moves."""
    stage, state = make_stage(accept_flood=True), State()
    outputs: list[tuple[Any, ...]] = []
    begin = 0
    for end in sorted({*cuts, len(given)} - {0}):
        records: list[Any] = [
            SimpleNamespace(
                key=b"k",
                value=b"{"
                if kind == "broken"
                else to_bytes(example("purchase", occurred_at=(NOON + timedelta(minutes=at)).isoformat())),
                headers=to_headers(identity(shard, sequence=begin + i)),
                timestamp=5,
                offset=begin + i,
            )
            for i, (at, shard, kind) in enumerate(given[begin:end])
        ]
        batch = Batch(stage.topic, 3, records, begin, end, None)
        for _ in range(2 if begin in lost else 1):
            result = stage.process(batch, state, Revision(0, 0), NOON)
            outputs += [
                (output.topic, output.key, output.value, tuple(output.headers)) for output in result.outputs
            ]
        for step in result.steps():
            state.take(step.changes)
        begin = end
    return outputs


@given(
    events=st.lists(st.tuples(minutes, shards, kinds), min_size=1, max_size=15),
    cuts=st.sets(st.integers(1, 15)),
    lost=st.sets(st.integers(0, 15)),
)
def test_any_batches_and_crashes_before_the_watermark_moves_give_the_same_outputs(
    events: list[tuple[int, str, str]], cuts: set[int], lost: set[int]
) -> None:
    cuts = {cut for cut in cuts if cut < len(events)}
    assert set(cleaned(events, cuts, lost)) == set(cleaned(events, set(), set()))
