import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.breakage import REASONS
from producer.kinesis import KinesisError
from producer.ledger import LedgerSummary
from producer.records import Record
from producer.run import ProduceConfig, ProduceError, make_records, produce
from streams.dead_letters import Reason
from streams.events import DECODERS, Stream, key_of

END = datetime(2026, 11, 20, 12, tzinfo=UTC)
FLAWED = ProduceConfig(seed=3, end=END, count=20_000, late=0.03, duplicates=0.02, broken=0.03)
HALF_AN_HOUR = timedelta(minutes=30)

# Reasons that already the stream's decoder sees; the others are found by looking closer.
SEEN_BY_DECODER = {
    Reason.NOT_UTF8,
    Reason.NOT_JSON,
    Reason.NOT_AN_OBJECT,
    Reason.UNKNOWN_EVENT_TYPE,
    Reason.MISSING_FIELD,
    Reason.WRONG_TYPE,
    Reason.INVALID_TIMESTAMP,
}


class Kept:
    """A writer that takes everything, or fails after so many records."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.records: list[Record] = []
        self._fails_after = fails_after

    def put(
        self, stream: Stream, records: Sequence[Record], acknowledged: Callable[[Sequence[Record]], None]
    ) -> None:
        assert all(record.stream == stream for record in records)
        assert 0 < len(records) <= 500
        if self._fails_after is not None and len(self.records) >= self._fails_after:
            raise KinesisError("it is gone")
        self.records += records
        acknowledged(records)


class KeptLedger:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, records: Sequence[Record]) -> None:
        self.records += records


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(make_records(FLAWED))


def test_the_same_configuration_makes_the_same_records(records: list[Record]) -> None:
    assert list(make_records(FLAWED)) == records
    other = list(make_records(replace(FLAWED, count=19_999)))
    assert not {r.event_id for r in other if r.event_id} & {r.event_id for r in records if r.event_id}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2000),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.sampled_from([None, 5.0, 5000.0]),
)
def test_there_are_exactly_as_many_records_as_asked_for(
    count: int, late: float, duplicates: float, broken: float, rate: float | None
) -> None:
    config = ProduceConfig(
        seed=1, end=END, count=count, late=late, duplicates=duplicates, broken=broken, rate=rate
    )
    summary = LedgerSummary()
    for record in make_records(config, clock=lambda: END):
        summary.add(record)
    assert summary.records == count
    assert summary.kinds["duplicate"] == round(count * duplicates)
    assert summary.kinds["broken"] == round(count * broken)


def test_facts_are_events_of_their_stream_under_their_own_key(records: list[Record]) -> None:
    ids = set()
    for record in records:
        if record.kind == "fact":
            event = DECODERS[record.stream].decode(record.value)
            assert (str(event.event_id), event.occurred_at) == (record.event_id, record.occurred_at)
            assert record.partition_key.encode() == key_of(record.value, record.partition_key)
            ids.add(record.event_id)
    assert len(ids) == sum(record.kind == "fact" for record in records)


def test_duplicates_repeat_what_was_sent_before_byte_by_byte(records: list[Record]) -> None:
    sent: dict[str | None, tuple[int, bytes]] = {}
    distances = []
    for position, record in enumerate(records):
        if record.kind == "fact":
            sent[record.event_id] = (position, record.value)
        elif record.kind == "duplicate":
            first, value = sent[record.event_id]
            assert value == record.value
            distances.append(position - first)
    assert min(distances) == 1
    assert max(distances) > 1000


def test_late_ones_are_late_and_only_they(records: list[Record]) -> None:
    newest: dict[str, datetime] = {}
    lateness = []
    for record in records:
        if record.kind != "fact" or record.occurred_at is None:
            continue
        behind = newest.get(record.stream, record.occurred_at) - record.occurred_at
        assert record.late == (behind > HALF_AN_HOUR)
        if record.late:
            lateness.append(behind)
        else:
            assert behind <= timedelta(0)
        newest[record.stream] = max(newest.get(record.stream, record.occurred_at), record.occurred_at)
    assert 0.02 <= len(lateness) / len(records) <= 0.04
    assert max(lateness) > timedelta(days=2)


def test_every_reason_occurs_and_is_what_the_decoder_sees(records: list[Record]) -> None:
    assert {r.reason for r in records if r.kind == "broken"} == set(REASONS)
    for record in records:
        if record.reason in SEEN_BY_DECODER:
            with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as refused:
                DECODERS[record.stream].decode(record.value)
            if record.reason is Reason.MISSING_FIELD:
                assert "missing required field" in str(refused.value)
            if record.reason is Reason.WRONG_TYPE:
                assert re.search("Expected `.*`, got `.*`", str(refused.value))
            if record.reason is Reason.NOT_UTF8:
                with pytest.raises(UnicodeDecodeError):
                    record.value.decode()
        elif record.reason not in (None, Reason.INVALID_VALUE):
            DECODERS[record.stream].decode(record.value)


def test_broken_ones_say_what_is_wrong(records: list[Record]) -> None:
    by_reason: dict[Reason, list[Record]] = {}
    for record in records:
        if record.reason is not None:
            by_reason.setdefault(record.reason, []).append(record)
    for record in by_reason[Reason.UNKNOWN_VERSION]:
        assert DECODERS[record.stream].decode(record.value).event_version != 1
    for record in by_reason[Reason.FUTURE_TIMESTAMP]:
        assert DECODERS[record.stream].decode(record.value).occurred_at.year >= 2090
    for record in by_reason[Reason.UNKNOWN_CURRENCY]:
        assert DECODERS[record.stream].decode(record.value).currency in {"XTS", "ZZZ", "QQQ"}
    for record in by_reason[Reason.NOT_JSON]:
        assert record.event_id is None
    facts = {r.event_id for r in records if r.kind == "fact"}
    for reason, broken in by_reason.items():
        taken = {r.event_id for r in broken if r.event_id} & facts
        assert bool(taken) == (reason is Reason.CONFLICTING_EVENT_ID)


def test_conflicting_ones_follow_the_first_at_a_distance_under_the_same_key(records: list[Record]) -> None:
    places = {r.event_id: n for n, r in enumerate(records) if r.kind == "fact"}
    for position, record in enumerate(records):
        if record.reason is Reason.CONFLICTING_EVENT_ID:
            first = records[places[record.event_id]]
            assert position - places[record.event_id] > 1000
            assert first.value != record.value
            assert (first.partition_key, first.event_type) == (record.partition_key, record.event_type)


def test_live_events_happen_when_they_are_sent_and_late_ones_before() -> None:
    ticks = (END + timedelta(seconds=n) for n in range(10**6))
    config = ProduceConfig(seed=1, end=END, count=3000, rate=10, late=0.1)
    made = list(make_records(config, clock=lambda: next(ticks)))
    seen: set[str] = set()
    for number, record in enumerate(made):
        assert record.occurred_at is not None
        behind = END + timedelta(seconds=number) - record.occurred_at
        # The first of a stream has nothing to be later than.
        assert (behind > HALF_AN_HOUR) == (
            record.late or (record.stream not in seen and behind > HALF_AN_HOUR)
        )
        assert record.late or not behind or record.stream not in seen
        seen.add(record.stream)
    assert 0.07 < sum(r.late for r in made) / len(made) < 0.13


def test_an_endless_run_goes_on_with_the_same_customers_and_new_orders() -> None:
    config = ProduceConfig(seed=1, end=END, count=None, rate=0.01)
    # A stretch has 1,000 records at the least.
    made = list(islice(make_records(config, clock=lambda: END), 2500))
    first, second = made[:1000], made[1000:2000]
    assert not {r.event_id for r in first} & {r.event_id for r in second}
    assert {r.partition_key for r in first} & {r.partition_key for r in second if r.event_type == "login"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": None}, "needs a count"),
        ({"count": 0}, "at least 1"),
        ({"rate": 0}, "above 0"),
        ({"days": 0}, "days"),
        ({"late": 0.5}, "late"),
        ({"broken": -0.1}, "broken"),
        ({"customers": 5000}, "from 1 to 800 do"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_reason(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ProduceError, match=message):
        replace(FLAWED, **wrong)  # type: ignore[arg-type]  # any field


def test_a_run_sends_all_and_the_ledger_has_it(records: list[Record]) -> None:
    writer, ledger, told = Kept(), KeptLedger(), Counter[str]()
    summary = produce(FLAWED, writer, ledger, progress=lambda n: told.update(records=n))
    assert summary.totals.records == told["records"] == len(records)
    assert not summary.stopped
    assert ledger.records == writer.records
    for stream in DECODERS:
        assert [r for r in writer.records if r.stream == stream] == [r for r in records if r.stream == stream]


def test_what_was_not_acknowledged_is_not_in_the_ledger() -> None:
    writer, ledger = Kept(fails_after=5000), KeptLedger()
    with pytest.raises(KinesisError):
        produce(FLAWED, writer, ledger)
    assert ledger.records == writer.records
    assert len(ledger.records) >= 5000


def test_a_run_can_be_stopped() -> None:
    writer, ledger = Kept(), KeptLedger()
    summary = produce(FLAWED, writer, ledger, stop=lambda: len(writer.records) >= 3000)
    assert summary.stopped
    assert 3000 <= summary.totals.records == len(ledger.records) < 5000


def test_a_live_run_keeps_its_pace() -> None:
    config = ProduceConfig(seed=1, end=END, count=300, rate=400)
    summary = produce(config, Kept())
    assert summary.totals.records == 300
    assert 0.6 < summary.seconds < 3
