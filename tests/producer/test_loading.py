import gzip
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.loading import (
    Line,
    LoadError,
    LoadSummary,
    instant_of,
    load,
    read_lines,
    sort_lines,
    to_records,
)
from producer.records import Record, partition_key_of
from streams.events import Stream

START = datetime(2016, 1, 1, tzinfo=UTC)
VIEW = b'{"event_type":"page_viewed","anonymous_id":"a1"}'
LOG = b'{"event_type":"log","service":"web"}'
BUY = b'{"event_type":"purchase","customer_id":"c1"}'


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(
        self, stream: Stream, records: Sequence[Record], acknowledged: Callable[[Sequence[Record]], None]
    ) -> None:
        assert all(record.stream == stream for record in records)
        self.records += records
        acknowledged(records)


def lines(*values: bytes) -> list[Line]:
    return [Line("f", number, value, len(value) + 1) for number, value in enumerate(values, 1)]


def streams_of(*values: bytes, stream: Stream | None = None) -> list[str]:
    return [record.stream for record in to_records(lines(*values), LoadSummary(), stream)]


def test_the_stream_follows_from_the_type() -> None:
    assert streams_of(VIEW, LOG, BUY) == ["product-events", "system-logs", "transaction-events"]


def test_what_cannot_be_read_follows_the_line_before() -> None:
    values = [b"{", VIEW, b"oops", b'{"event_type":"nothing"}', b'{"event_type":5}', LOG, b"\xff", b"[1]"]
    summary = LoadSummary()
    records = list(to_records(lines(*values), summary))
    assert [r.stream for r in records] == ["customer-events", *["product-events"] * 4, *["system-logs"] * 3]
    assert [r.value for r in records] == values
    assert summary.unreadable == 6
    assert [place.number for place in summary.unreadable_at] == [1, 3, 4, 5, 7, 8]


def test_a_stream_that_is_named_takes_only_what_cannot_be_read() -> None:
    assert streams_of(VIEW, b"oops", LOG, b"{", stream="transaction-events") == [
        "product-events",
        "transaction-events",
        "system-logs",
        "transaction-events",
    ]


def test_records_have_the_key_of_their_event_or_a_hash() -> None:
    records = list(to_records(lines(VIEW, BUY, LOG, b"oops", b"oops"), LoadSummary()))
    keys = [record.partition_key for record in records]
    assert keys[:2] == ["a1", "c1"]
    assert keys[2] == partition_key_of(LOG)
    assert keys[3] == keys[4] != keys[2]


def test_a_key_too_long_for_kinesis_becomes_a_hash() -> None:
    assert len(partition_key_of(b'{"customer_id":"%s"}' % (b"c" * 257))) == 32
    assert partition_key_of(b'{"customer_id":"%s"}' % (b"c" * 256)) == "c" * 256


def test_files_are_read_plain_and_packed_with_any_line_ends(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.jsonl", tmp_path / "packed.of.any.name"
    plain.write_bytes(VIEW + b"\r\n\n  \n" + LOG)
    packed.write_bytes(gzip.compress(BUY + b"\n" + LOG + b"\n"))
    writer = Kept()
    summary = load([plain, packed], writer)
    assert sorted(r.value for r in writer.records) == sorted([VIEW, LOG, BUY, LOG])
    assert (summary.sent.totals.records, summary.empty, summary.unreadable) == (4, 2, 0)


def test_an_empty_file_is_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert load([tmp_path / "empty"], Kept()).sent.totals.records == 0


def test_lines_keep_the_files_order(tmp_path: Path) -> None:
    values = [b'{"event_type":"log","n":%d}' % n for n in random.Random(1).sample(range(9000), 9000)]
    (tmp_path / "f").write_bytes(b"\n".join(values))
    writer = Kept()
    load([tmp_path / "f"], writer)
    assert [record.value for record in writer.records] == values


@pytest.mark.parametrize("extra", [1, 5_000_000])
def test_lines_over_a_mebibyte_stay_behind_and_are_told_of(tmp_path: Path, extra: int) -> None:
    big = b'{"event_type":"log","message":"' + b"x" * (1024 * 1024 - 31 - 32 - 2) + b'"}'
    assert len(big) + 32 == 1024 * 1024
    (tmp_path / "f").write_bytes(VIEW + b"\n" + big + b" " * extra + b"\n" + big + b"\n" + LOG)
    writer = Kept()
    summary = load([tmp_path / "f"], writer)
    assert summary.too_large == 1
    assert [str(place) for place in summary.too_large_at] == [f"{tmp_path / 'f'}:2"]
    assert summary.unreadable == 0
    assert sorted(len(r.value) for r in writer.records) == [len(LOG), len(VIEW), len(big)]


def test_a_missing_file_is_one_clear_line_and_nothing_is_sent(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(VIEW)
    writer = Kept()
    with pytest.raises(LoadError, match="not-there cannot be read: No such file or directory"):
        load([tmp_path / "there", tmp_path / "not-there"], writer)
    assert writer.records == []


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="Is a directory"):
        load([tmp_path], Kept())


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:60] + b"\0\0\0\0" + b[64:]])
def test_damaged_packing_is_told_of(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    values = b"\n".join(b'{"event_type":"log","n":%d}' % n for n in random.Random(1).sample(range(500), 500))
    (tmp_path / "f.gz").write_bytes(damage(gzip.compress(values)))
    with pytest.raises(LoadError, match=r"f\.gz cannot be read after line \d+"):
        list(read_lines(tmp_path / "f.gz"))


def event_at(minutes: int, number: int) -> bytes:
    at = (START + timedelta(minutes=minutes)).isoformat()
    return json.dumps({"event_type": "log", "occurred_at": at, "n": number}).encode()


@given(st.lists(st.integers(0, 50), max_size=60), st.sampled_from([1, 700, 10**9]))
def test_sorting_is_by_time_and_keeps_the_order_of_equals(minutes: list[int], memory: int) -> None:
    given_lines = lines(*(event_at(m, n) for n, m in enumerate(minutes)))
    wanted = [line for _, _, line in sorted((m, n, given_lines[n]) for n, m in enumerate(minutes))]
    assert list(sort_lines(given_lines, memory_bytes=memory)) == wanted


def test_what_has_no_instant_stays_with_the_line_before() -> None:
    late, early = event_at(9, 0), event_at(1, 0)
    values = [line.value for line in sort_lines(lines(late, b"broken", early, b"{}"))]
    assert values == [early, b"{}", late, b"broken"]


def test_sorting_is_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(event_at(5, 0) + b"\n" + event_at(1, 1))
    (tmp_path / "b").write_bytes(event_at(4, 2) + b"\n" + event_at(2, 3))
    writer = Kept()
    load([tmp_path / "a", tmp_path / "b"], writer, sort=True)
    assert [json.loads(r.value)["n"] for r in writer.records] == [1, 3, 2, 0]


def test_instants_are_compared_whatever_their_offset() -> None:
    assert instant_of("2016-01-01T02:00:00+02:00") == instant_of("2016-01-01T00:00:00Z") == START.timestamp()
    assert instant_of("2016-01-01T00:00:00") == START.timestamp()
    assert instant_of("yesterday") is instant_of(5) is instant_of(None) is None


def test_a_load_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\n".join([LOG] * 5000))
    writer = Kept()
    summary = load([tmp_path / "f"], writer, stop=lambda: len(writer.records) >= 1000)
    assert summary.sent.stopped
    assert summary.sent.totals.records == len(writer.records) == 1000
