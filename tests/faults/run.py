"""Runs faults one after another, in as few pipelines as they need, and judges after each."""

import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.faults.fault import Fault, SkippedError
from tests.faults.report import Row, Verdict
from tests.faults.world import World

CLEAN = Verdict(0, 0, 0, conserved=True)
HERE = Path(__file__).parent


class Run(NamedTuple):
    """What came of all faults, and which failpoints any process has passed meanwhile."""

    rows: list[Row]
    passed: set[str]


def run_faults(
    faults: Sequence[Fault],
    seed: int,
    *,
    say: Callable[[str], None],
    keep: Callable[[Row], object] = lambda _: None,
    keep_logs: Path | None = None,
) -> Run:
    """Run faults and give a row for each. After one that goes wrong the next begin with another pipeline.

    Args:
        faults: in the order in which they run; those of one world follow each other.
        seed: of events and of strikes.
        say: takes one line about what goes on.
        keep: is given each row as soon as it is there.
        keep_logs: where the logs of a pipeline go in which something was wrong or stood still.
    """
    rows: list[Row] = []
    passed: set[str] = set()
    for group in _by_world(faults):
        while group:
            with ExitStack() as stack:
                home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
                home.chmod(0o755)
                try:
                    stack.enter_context(group[0].prepared(home / "home"))
                except SkippedError as reason:
                    say(f"{group[0].name}: skipped, {reason}")
                    rows.append(Row(group.pop(0).name, [seed], 0, [], CLEAN, skipped=str(reason)))
                    keep(rows[-1])
                    continue
                world = stack.enter_context(World(home / "home", seed, group[0].world, say=say))
                row = None
                while group and (row is None or row.is_as_it_must_be):
                    row = run_fault(group.pop(0), world, say)
                    rows.append(row)
                    keep(row)
                if keep_logs is not None and (world.captured or not rows[-1].is_as_it_must_be):
                    kept = keep_logs / rows[-1].fault.replace(" ", "-")
                    shutil.copytree(world.home / "logs", kept, dirs_exist_ok=True)
                    say(f"logs are kept in {kept}")
                passed |= world.passed()
    return Run(rows, passed)


def revision() -> str:
    """Give the revision of the code, with a plus if files differ from it; empty where there is no git."""
    asked = ("describe", "--always", "--dirty=+", "--exclude=*")
    done = subprocess.run(["git", *asked], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def run_fault(fault: Fault, world: World, say: Callable[[str], None]) -> Row:
    """Run one fault, wait until all is through, judge."""
    say(f"--- {fault.name} (seed {world.seed})")
    world.hits.clear()
    world.figures.clear()
    failed = ""
    sent, exits, repeated, began = world.feed.sent, world.exits(), world.repeated(), time.monotonic()
    try:
        fault.run(world)
        world.settle()
        verdict = world.judge()
        repeated = world.repeated() - repeated
    except Exception as error:  # noqa: BLE001  (one fault that fails must not hide what the others found)
        verdict, failed = CLEAN, "".join(traceback.format_exception(error))
        world.feed.abandon()
        say(failed)
    own = {
        how: count
        for how, count in (world.exits() - exits).items()
        if "SIGKILL" not in how and "exit status 0" not in how
    }
    row = Row(
        fault.name,
        [world.seed],
        world.feed.sent - sent,
        list(world.hits),
        verdict,
        repeated,
        round(time.monotonic() - began, 1),
        own,
        fault.must_be_found,
        error=failed,
        figures=dict(world.figures),
        revision=revision(),
    )
    found = f"lost {verdict.lost}, doubled {verdict.doubled}, differing {verdict.differing}"
    say(
        f"{fault.name}: {len(row.hits)} struck, {row.sent} sent, {found}; in {row.seconds:.0f} s; {own or ''}"
    )
    for example in verdict.examples[:5]:
        say(f"  {example}")
    return row


def _by_world(faults: Iterable[Fault]) -> list[list[Fault]]:
    groups: list[list[Fault]] = []
    for fault in faults:
        last = groups[-1] if groups else None
        if last is None or fault.alone or last[0].alone or last[0].world != fault.world:
            groups.append([fault])
        else:
            last.append(fault)
    return groups
