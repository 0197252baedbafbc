import json
from pathlib import Path

from tests.faults.backlog import Backlog, Look, megabytes_below, most_mb
from tests.faults.catalogue import all_faults, short_faults
from tests.faults.results import Results
from tests.faults.run import run_faults


def test_the_most_memory_is_of_one_kind_and_up_to_an_instant() -> None:
    looks = [Look(1, {"process": 5, "sink": 9}), Look(2, {"process": 7}), Look(3, {"process": 6, "sink": 0})]
    assert (most_mb(looks, "process"), most_mb(looks, "process", until=1), most_mb(looks, "sink")) == (
        7,
        5,
        9,
    )


def test_workers_that_never_were_have_no_memory() -> None:
    assert most_mb([], "process") == 0


def test_what_files_take_is_of_all_folders_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for path in (tmp_path / "one", tmp_path / "a" / "b" / "two"):
        path.write_bytes(bytes(2 << 20))
    assert megabytes_below(tmp_path) == 4


def test_a_backlog_that_no_disk_has_room_for_is_skipped_by_name(tmp_path: Path) -> None:
    results = Results(tmp_path, ["a backlog"], "command", add=False)
    run_faults([Backlog("a backlog", "in-process", records=10**9)], 1, say=print, keep=results.keep)
    (row,) = results.rows
    assert row.skipped.startswith("it takes 5,587 GiB of disk, ")
    assert "| a backlog | skipped: it takes 5,587 GiB" in (tmp_path / "faults.md").read_text()
    assert json.loads((tmp_path / "faults.json").read_text())["faults"][0]["skipped"] == row.skipped


def test_the_backlog_is_as_long_as_asked_for_and_no_part_of_the_short_version() -> None:
    (backlog,) = (fault for fault in all_faults(300, 1234) if isinstance(fault, Backlog))
    assert backlog.records == 1234
    assert not [fault for fault in short_faults() if isinstance(fault, Backlog)]
