"""Faults in a whole local pipeline: `python -m tests.faults --help`."""

import logging
import shlex
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from tests.faults.catalogue import BACKLOG, all_faults, short_faults
from tests.faults.report import markdown
from tests.faults.results import Results
from tests.faults.run import run_faults


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, help="Faults whose name has this in it; may be repeated.")
@click.option("--kills", type=click.IntRange(1), default=300, show_default=True, help="Of the random soak.")
@click.option(
    "--backlog", type=click.IntRange(1), default=BACKLOG, show_default=True, help="Records that wait."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of events and strikes.")
@click.option("--short", is_flag=True, help="A few of each kind, in two minutes.")
@click.option("--list", "show", is_flag=True, help="Name the faults and end.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path(".faults"), show_default=True
)
@click.option("--add", is_flag=True, help="Add to what the folder says: other faults, other seeds.")
@click.option(
    "--docs", type=click.Path(dir_okay=False, path_type=Path), help="A page whose table is replaced."
)
def main(
    *,
    only: tuple[str, ...],
    kills: int,
    backlog: int,
    seed: int,
    short: bool,
    show: bool,
    out: Path,
    add: bool,
    docs: Path | None,
) -> None:
    """Strike a whole local pipeline, and compare every row of silver with what was sent.

    Exit code 0 only if every fault struck, nothing was lost or doubled or differs, and every step that was
    broken on purpose was found.
    """
    faults = short_faults() if short else all_faults(kills, backlog)
    faults = [fault for fault in faults if not only or any(part in fault.name for part in only)]
    if not faults:
        raise click.UsageError("no fault has such a name: see --list")
    if show:
        for fault in faults:
            click.echo(f"{fault.name}  ({fault.world})")
        return
    # So that what was started ends with us.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    logging.getLogger("botocore").setLevel(logging.ERROR)
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - began:7.1f}  {line}", err=True)

    chosen = [part for name in only for part in ("--only", name)] + (["--short"] if short else [])
    drawn = ["--kills", str(kills), "--seed", str(seed)]
    if backlog != BACKLOG:
        drawn += ["--backlog", str(backlog)]
    command = shlex.join(["python", "-m", "tests.faults", *chosen, *drawn])
    names = list(dict.fromkeys(fault.name for fault in (*all_faults(kills), *short_faults())))
    results = Results(out, names, f"{command}  # {datetime.now(UTC):%Y-%m-%d %H:%M}", add=add)
    rows = run_faults(faults, seed, say=say, keep=results.keep, keep_logs=out / "logs").rows
    if docs is not None:
        results.show_in(docs)
    click.echo(markdown(results.shown))
    sys.exit(0 if len(rows) == len(faults) and all(row.is_as_it_must_be for row in rows) else 1)


if __name__ == "__main__":
    main()
