"""What came of the faults: values, and the table that shows them. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, Final, NamedTuple

START: Final = "<!-- faults -->\n"
END: Final = "<!-- end of faults -->"
HEADER: Final = (
    "| fault | struck | records sent | lost | doubled | differing | repeated | own exits "
    "| recovery p50 | max |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)


class Hit(NamedTuple):
    """One strike: when (seconds since the run began), at what, what was unfinished, and how long it stood.

    `recovery_seconds` is None where nothing stands still, as when one of several connections is lost.
    """

    at_seconds: float
    target: str
    unfinished: str
    recovery_seconds: float | None = None


class Verdict(NamedTuple):
    """What the comparison with the ledger, and the one between the layers, found."""

    lost: int
    doubled: int
    differing: int
    conserved: bool
    examples: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether everything is as it must be."""
        return self.conserved and not (self.lost or self.doubled or self.differing)


@dataclass
class Row:
    """A fault and what came of it.

    `repeated`: records that were written to the topics again and absorbed by the tables. `own_exits`: exits
    by which workers helped themselves, by program. `must_be_found`: a step was broken on purpose, and the
    comparison must not be clean. `skipped`: why it could not be made here. `error`: why it did not
    strike, or how the pipeline did not come through. `figures`: what else was measured, by name.
    `revision`: of the code.
    """

    fault: str
    seeds: list[int]
    sent: int
    hits: list[Hit]
    verdict: Verdict
    repeated: int = 0
    seconds: float = 0.0
    own_exits: dict[str, int] = field(default_factory=dict)
    must_be_found: bool = False
    skipped: str = ""
    error: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    revision: str = ""

    @property
    def is_as_it_must_be(self) -> bool:
        """Whether it struck, and was harmless; or, where a step was broken on purpose, was found."""
        if self.skipped:
            return True
        return bool(self.hits) and not self.error and self.verdict.is_clean != self.must_be_found

    @property
    def recoveries(self) -> list[float]:
        """How long it stood still, of each strike where that is known."""
        return [hit.recovery_seconds for hit in self.hits if hit.recovery_seconds is not None]


def markdown(rows: Iterable[Row]) -> str:
    """Give the tables: faults, and steps broken on purpose."""
    rows = list(rows)
    faults = [row for row in rows if not row.must_be_found]
    controls = [row for row in rows if row.must_be_found]
    text = ""
    if faults:
        lines = [_line(row) for row in faults]
        if len(faults) > 1:
            lines.append(_line(total(faults)))
        text = HEADER + "".join(lines)
    for row in faults:
        if row.figures:
            text += f"\n| {row.fault} | |\n|---|---|\n"
            text += "".join(f"| {name} | {figure} |\n" for name, figure in row.figures.items())
    if controls:
        text += "\nBroken on purpose, and found:\n\n" if faults else ""
        text += "| step | struck | records sent | lost | doubled | differing | found |\n"
        text += "|---|--:|--:|--:|--:|--:|---|\n"
        for row in controls:
            found = "yes" if row.is_as_it_must_be else "**no**"
            verdict = row.verdict
            text += (
                f"| {row.fault} | {len(row.hits)} | {row.sent:,} | {verdict.lost} | {verdict.doubled} "
                f"| {verdict.differing} | {found} |\n"
            )
    return text


def with_table(page: str, commands: Sequence[str], rows: Iterable[Row]) -> str:
    """Give a page with its tables, and the commands that made them, put in place of the old ones."""
    head, _, rest = page.partition(START)
    rows = list(rows)
    made_by = "".join(f"{command}\n" for command in commands)
    revisions = ", ".join(dict.fromkeys(row.revision for row in rows if row.revision))
    of = f"Of revision {revisions}.\n\n" if revisions else ""
    return f"{head}{START}\n```sh\n{made_by}```\n\n{of}{markdown(rows)}\n{END}{rest.partition(END)[2]}"


def total(rows: Sequence[Row], fault: str = "**all**") -> Row:
    """Give the sum of rows as one; it is as it must be only if each of them is."""
    return Row(
        fault=fault,
        seeds=sorted({seed for row in rows for seed in row.seeds}),
        sent=sum(row.sent for row in rows),
        hits=[hit for row in rows for hit in row.hits],
        verdict=Verdict(
            sum(row.verdict.lost for row in rows),
            sum(row.verdict.doubled for row in rows),
            sum(row.verdict.differing for row in rows),
            all(row.verdict.conserved for row in rows),
            tuple(example for row in rows for example in row.verdict.examples),
        ),
        repeated=sum(row.repeated for row in rows),
        seconds=sum(row.seconds for row in rows),
        own_exits=dict(sum((Counter(row.own_exits) for row in rows), Counter())),
        must_be_found=all(row.must_be_found for row in rows),
        error="\n".join(row.error for row in rows if row.error),
        figures=rows[-1].figures,
        revision=", ".join(dict.fromkeys(row.revision for row in rows)),
    )


def as_values(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Give the rows as JSON has them."""
    return [
        {
            **asdict(row),
            "hits": [hit._asdict() for hit in row.hits],
            "verdict": row.verdict._asdict(),
            "is_as_it_must_be": row.is_as_it_must_be,
        }
        for row in rows
    ]


def rows_of(values: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Give rows again from what `as_values` gave."""
    rows = []
    for given in values:
        row = {name: value for name, value in given.items() if name != "is_as_it_must_be"}
        row["hits"] = [Hit(**hit) for hit in given["hits"]]
        verdict = given["verdict"]
        row["verdict"] = Verdict(**{**verdict, "examples": tuple(verdict["examples"])})
        rows.append(Row(**row))
    return rows


def merged(before: Iterable[Row], now: Iterable[Row], order: Sequence[str]) -> list[Row]:
    """Give one row of each fault, in the order of their names.

    What was run again is added to what the fault's row says, so that what went wrong stays; it takes the
    place of what was run with other code.
    """
    found = {row.fault: row for row in before}
    for row in now:
        known = found.get(row.fault)
        is_more = known is not None and not known.skipped and row.revision == known.revision
        found[row.fault] = (
            replace(total([known, row], row.fault), revision=row.revision)
            if known is not None and is_more
            else row
        )
    return [found[name] for name in order if name in found]


def _line(row: Row) -> str:
    if row.skipped:
        return f"| {row.fault} | skipped: {row.skipped} | | | | | | | | |\n"
    verdict, recoveries = row.verdict, row.recoveries
    p50 = f"{median(recoveries):.1f} s" if recoveries else "-"
    longest = f"{max(recoveries):.1f} s" if recoveries else "-"
    wrong = " (not through)" if row.error else "" if verdict.conserved else " (layers disagree)"
    differing = f"{verdict.differing}{wrong}"
    return (
        f"| {row.fault} | {len(row.hits)} | {row.sent:,} | {verdict.lost} | {verdict.doubled} | {differing} "
        f"| {row.repeated:,} | {sum(row.own_exits.values())} | {p50} | {longest} |\n"
    )
