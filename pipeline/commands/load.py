"""`pipeline load FILE…`: events of your own, to Kinesis."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from pipeline.errors import CONFIGURATION, UserError
from pipeline.sending import INTERRUPTED, Stopping, make_writer, progress_bar
from pipeline.settings import SettingsError, load_settings
from producer.kinesis import KinesisError
from producer.loading import LinePlace, LoadError, LoadSummary
from producer.loading import load as load_files
from streams.events import Stream


@click.command("load")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE…"
)
@click.option(
    "--stream",
    type=click.Choice(get_args(Stream)),
    help="For lines that no stream follows from.  [that of the line before]",
)
@click.option("--sort", is_flag=True, help="By event time, not in the file's order; on disk if it is large.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def load(files: tuple[Path, ...], stream: Stream | None, *, sort: bool, as_json: bool) -> None:
    """Send the events of files to Kinesis: JSON lines, plain or gzip, of any age; - is the standard input.

    Lines that cannot be read are sent too, and become dead letters; only lines of over 1 MiB with their
    partition key, which Kinesis does not take, stay behind: they are listed, and the exit code is 1.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        raise UserError(str(error), exit_code=CONFIGURATION) from None
    summary = LoadSummary()
    stopping = Stopping()
    try:
        with progress_bar("loading", None, quiet=as_json) as progress:
            load_files(
                files,
                make_writer(settings, stopping),
                stream=stream,
                sort=sort,
                summary=summary,
                progress=progress,
            )
    except KeyboardInterrupt:
        summary.sent.stopped = True
    except (KinesisError, LoadError) as error:
        raise UserError(f"{error} ({summary.sent.totals.records} records were sent)") from None
    click.echo(json.dumps(to_json(summary)) if as_json else to_line(summary))
    if summary.sent.stopped:
        sys.exit(INTERRUPTED)
    if summary.too_large:
        sys.exit(1)


def to_json(summary: LoadSummary) -> dict[str, Any]:
    """Give a summary as a program may read it."""
    return {
        "records": summary.sent.totals.records,
        "streams": dict(summary.sent.totals.streams),
        "empty": summary.empty,
        "unreadable": summary.unreadable,
        "unreadable_at": [str(place) for place in summary.unreadable_at],
        "too_large": summary.too_large,
        "too_large_at": [str(place) for place in summary.too_large_at],
        "seconds": round(summary.sent.seconds, 3),
        "per_second": round(summary.sent.per_second, 1),
        "stopped": summary.sent.stopped,
    }


def to_line(summary: LoadSummary) -> str:
    """Give a summary as one line."""
    sent = summary.sent
    parts = [f"{sent.totals.records} records sent in {sent.seconds:.1f} s ({sent.per_second:.0f}/s)"]
    if sent.stopped:
        parts = [f"stopped: {sent.totals.records} records were sent"]
    if summary.unreadable:
        parts.append(
            f"{summary.unreadable} of no known event type, which become dead letters "
            f"({_places(summary.unreadable_at, summary.unreadable)})"
        )
    if summary.too_large:
        parts.append(
            f"{summary.too_large} NOT sent, being over 1 MiB with their partition key "
            f"({_places(summary.too_large_at, summary.too_large)})"
        )
    if summary.empty:
        parts.append(f"{summary.empty} empty lines skipped")
    return "; ".join(parts)


def _places(places: Sequence[LinePlace], total: int) -> str:
    more = ", …" if total > len(places) else ""
    return "at " + ", ".join(map(str, places)) + more
