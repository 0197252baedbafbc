from datetime import UTC, datetime
from pathlib import Path

from producer.ledger import LedgerSummary, LedgerWriter, read_ledger, summarise_ledger
from producer.run import ProduceConfig, make_records

CONFIG = ProduceConfig(
    seed=5, end=datetime(2026, 11, 20, tzinfo=UTC), count=3000, late=0.02, duplicates=0.02, broken=0.03
)


def test_a_ledger_gives_back_what_was_sent(tmp_path: Path) -> None:
    records = list(make_records(CONFIG))
    path = tmp_path / "new" / "run.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.write(records[:1700])
        ledger.write(records[1700:])
    lines = list(read_ledger(path))
    assert len(lines) == len(records)
    for line, record in zip(lines, records, strict=True):
        assert line.value == record.value
        assert (line.kind, line.stream, line.partition_key) == (
            record.kind,
            record.stream,
            record.partition_key,
        )
        assert (line.event_id, line.occurred_at, line.late, line.reason) == (
            record.event_id,
            record.occurred_at,
            record.late,
            record.reason,
        )
        if line.kind == "fact":
            assert str(line.decode().event_id) == line.event_id
    wanted = LedgerSummary()
    for record in records:
        wanted.add(record)
    assert summarise_ledger(lines) == wanted
    assert wanted.kinds == {"fact": 2850, "duplicate": 60, "broken": 90}


def test_a_line_cut_short_by_a_kill_is_left_out_and_written_over(tmp_path: Path) -> None:
    records = list(make_records(CONFIG))
    path = tmp_path / "run.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.write(records[:1000])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 7)
    assert len(list(read_ledger(path))) == 999
    with LedgerWriter(path) as ledger:
        ledger.write(records[1000:1001])
    values = [line.value for line in read_ledger(path)]
    assert values == [record.value for record in [*records[:999], records[1000]]]


def test_a_ledger_of_nothing_but_a_cut_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"kind":"fa' + b"x" * 200_000)
    LedgerWriter(path).close()
    assert path.read_bytes() == b""
