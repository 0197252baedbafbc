"""Local copies belong to one changelog; one that was made again since does not inherit them."""

from pathlib import Path

from streams.engine.copies import copy_path


def test_a_copy_is_found_again_for_the_same_changelog(tmp_path: Path) -> None:
    path = copy_path(tmp_path, "a+b/c", 3)
    path.mkdir(parents=True)
    assert copy_path(tmp_path, "a+b/c", 3) == path
    assert path.exists()
    assert path.parent.parent == tmp_path


def test_copies_of_a_changelog_that_was_made_again_are_deleted(tmp_path: Path) -> None:
    old = copy_path(tmp_path, "old", 3)
    old.mkdir(parents=True)
    (old / "000001.sst").write_bytes(b"state")
    assert copy_path(tmp_path, "new", 3) != old
    assert not old.exists()
