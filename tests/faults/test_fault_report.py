import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.report import Hit, Row, Verdict, as_values, markdown, merged, rows_of, with_table
from tests.faults.results import Results

CLEAN = Verdict(0, 0, 0, conserved=True)


def row(
    name: str = "x", verdict: Verdict = CLEAN, *, hits: int = 2, seed: int = 1, must_be_found: bool = False
) -> Row:
    struck = [Hit(1.0, "process", "3 parts", seconds) for seconds in (2.0, 4.0, None)[:hits]]
    exits = {"process-1: exit status 70": 2, "sink: exit status 75": 3}
    return Row(name, [seed], 1_500, struck, verdict, 7, own_exits=exits, must_be_found=must_be_found)


def test_a_row_shows_what_was_found_and_how_long_it_stood_still() -> None:
    assert "| x | 2 | 1,500 | 0 | 0 | 0 | 7 | 5 | 3.0 s | 4.0 s |\n" in markdown([row()])


def test_several_rows_have_a_sum() -> None:
    table = markdown([row("one"), row("two", Verdict(1, 2, 3, conserved=False))])
    assert "| **all** | 4 | 3,000 | 1 | 2 | 3 (layers disagree) | 14 | 10 | 3.0 s | 4.0 s |\n" in table


def test_a_fault_that_never_struck_is_no_success() -> None:
    assert not row(hits=0).is_as_it_must_be


def test_only_a_clean_verdict_is_a_success() -> None:
    assert row().is_as_it_must_be
    for verdict in (
        Verdict(1, 0, 0, conserved=True),
        Verdict(0, 1, 0, conserved=True),
        Verdict(0, 0, 1, conserved=True),
        Verdict(0, 0, 0, conserved=False),
    ):
        assert not row(verdict=verdict).is_as_it_must_be


def test_a_broken_step_must_be_found() -> None:
    found = row(verdict=Verdict(5, 0, 0, conserved=True), must_be_found=True)
    missed = row(must_be_found=True)
    assert found.is_as_it_must_be
    assert not missed.is_as_it_must_be
    table = markdown([found, missed])
    assert "| x | 2 | 1,500 | 5 | 0 | 0 | yes |" in table
    assert "| x | 2 | 1,500 | 0 | 0 | 0 | **no** |" in table
    assert "recovery" not in table


def test_json_says_whether_it_was_as_it_must_be() -> None:
    (values,) = as_values([row()])
    assert values["is_as_it_must_be"] is True
    assert values["hits"][0] == {
        "at_seconds": 1.0,
        "target": "process",
        "unfinished": "3 parts",
        "recovery_seconds": 2.0,
    }


def test_what_cannot_be_made_here_is_told() -> None:
    skipped = Row("x", [1], 0, [], CLEAN, skipped="no disk")
    assert skipped.is_as_it_must_be
    assert "| x | skipped: no disk | | | | | | | | |\n" in markdown([skipped])


def test_a_fault_that_could_not_be_carried_out_is_no_success_and_finds_nothing() -> None:
    for must_be_found in (False, True):
        assert not Row(
            "x", 1, 0, [Hit(1, "a", "b")], CLEAN, must_be_found=must_be_found, error="e"
        ).is_as_it_must_be


def test_rows_are_read_again_as_they_were_written() -> None:
    rows = [row("one"), row("two", Verdict(1, 2, 3, conserved=False, examples=("e",)), must_be_found=True)]
    assert rows_of(json.loads(json.dumps(as_values(rows)))) == rows


def test_what_is_run_again_with_other_code_takes_the_place_of_what_was_and_the_rest_stays() -> None:
    before, now = [row("one", hits=1), row("two", hits=1)], [replace(row("one", hits=2), revision="b")]
    assert merged(before, now, ["two", "one", "three"]) == [row("two", hits=1), now[0]]


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_run_again_with_the_same_code_adds_and_hides_no_failure(seed: int) -> None:
    bad, good = row("one", Verdict(0, 1, 0, conserved=True)), row("one", seed=seed)
    (sum_of_both,) = merged([bad], [good], ["one"])
    assert (sum_of_both.seeds, len(sum_of_both.hits), sum_of_both.sent) == ([*{1, seed}], 4, 3_000)
    assert not sum_of_both.is_as_it_must_be


def test_a_page_names_the_revisions_that_its_rows_are_of() -> None:
    rows = [replace(row("one"), revision="a"), replace(row("two"), revision="b")]
    assert "\nOf revision a, b.\n" in with_table("<!-- faults -->\n<!-- end of faults -->", ["c"], rows)


def test_a_page_keeps_all_but_its_table() -> None:
    page = "before\n<!-- faults -->\nold\n<!-- end of faults -->\nafter\n"
    once = with_table(page, ["a command"], [row()])
    assert once.startswith("before\n<!-- faults -->\n")
    assert once.endswith("<!-- end of faults -->\nafter\n")
    assert "a command" in once
    assert markdown([row()]) in once
    assert "old" not in once
    assert with_table(once, ["a command"], [row()]) == once


def test_what_was_found_is_kept_after_each_fault_and_added_to(tmp_path: Path) -> None:
    first = Results(tmp_path, ["one", "two"], "the first", add=False)
    first.keep(row("two"))
    second = Results(tmp_path, ["one", "two"], "the second", add=True)
    second.keep(row("one"))
    page = tmp_path / "page.md"
    page.write_text("<!-- faults -->\n<!-- end of faults -->")
    second.show_in(page)
    assert "the first\nthe second\n" in page.read_text()
    assert (tmp_path / "faults.md").read_text() == markdown([row("one"), row("two")])
    Results(tmp_path, ["one", "two"], "the third", add=False).keep(row("two"))
    assert (tmp_path / "faults.md").read_text() == markdown([row("two")])


def test_what_else_was_measured_stands_below_the_table_and_survives() -> None:
    loaded = row("load")
    loaded.figures = {"drained": "in 5 s", "most memory": "7 MB"}
    table = markdown([row("one"), loaded])
    assert table.endswith("\n| load | |\n|---|---|\n| drained | in 5 s |\n| most memory | 7 MB |\n")
    assert rows_of(json.loads(json.dumps(as_values([loaded])))) == [loaded]
    (newer,) = merged([loaded], [replace(loaded, seeds=[2], figures={"drained": "in 4 s"})], ["load"])
    assert newer.figures == {"drained": "in 4 s"}
