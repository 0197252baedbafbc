"""What is known of faults, kept in a folder as they are run, for a page to show."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.faults.report import Row, as_values, markdown, merged, rows_of, with_table


class Results:
    """A folder with `faults.json` and `faults.md`.

    Args:
        folder: it is made.
        order: names of all faults, as they are to be listed.
        command: what is run now.
        add: to what the folder says already; else that is forgotten.
    """

    def __init__(self, folder: Path, order: Sequence[str], command: str, *, add: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._order = order
        known = folder / "faults.json"
        before = json.loads(known.read_text()) if add and known.exists() else {"commands": [], "faults": []}
        self._commands = [*before["commands"], command]
        self._before = rows_of(before["faults"])
        self.rows: list[Row] = []
        """Of this run."""

    @property
    def shown(self) -> list[Row]:
        """A row for each fault, of all runs."""
        return merged(self._before, self.rows, self._order)

    def keep(self, row: Row) -> None:
        """Take a row and write all down: a run of an hour may be cut short."""
        self.rows.append(row)
        values = {"commands": self._commands, "faults": as_values(self.shown)}
        (self._folder / "faults.json").write_text(json.dumps(values, indent=1) + "\n")
        (self._folder / "faults.md").write_text(markdown(self.shown))

    def show_in(self, page: Path) -> None:
        """Put the tables into a page."""
        page.write_text(with_table(page.read_text(), self._commands, self.shown))
