"""`pipeline produce`: events of a synthetic shop, history or live."""

import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pipeline.errors import CONFIGURATION, UserError
from pipeline.sending import INTERRUPTED, Stopping, make_writer, progress_bar
from pipeline.settings import Settings, SettingsError, load_settings
from producer.kinesis import KinesisError
from producer.ledger import LedgerWriter
from producer.run import ProduceConfig, ProduceError, Summary, now
from producer.run import produce as produce_run
from streams import failpoints

SEEDS = 1_000_000
DAYS = 180.0
COUNT = 20_000


class Instant(click.ParamType):
    """A date or an instant, RFC 3339; without an offset it is UTC."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date or instant like 2026-05-01 or 2026-05-01T12:00:00Z", param, ctx)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


@click.command("produce")
@click.option("--count", type=int, help=f"Records in all, flaws included.  [{COUNT}; with --rate endless]")
@click.option("--rate", type=float, help="Live, so many records a second; else a history, at once.")
@click.option("--days", type=float, help=f"Length of the history.  [{DAYS:g}]")
@click.option("--end", type=Instant(), help="Where the history ends.  [now]")
@click.option("--customers", type=int, help="How many.  [one for 200 records]")
@click.option("--seed", type=int, help="The same seed, count, days, end, … make the same events.  [random]")
@click.option("--late", type=float, default=0.02, show_default=True, help="Share that comes late.")
@click.option("--duplicates", type=float, default=0.01, show_default=True, help="Share that comes twice.")
@click.option("--broken", type=float, default=0.005, show_default=True, help="Share that is broken.")
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write what was sent.  [<home>/ledger/<run>.jsonl; an endless run keeps none]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def produce(
    *,
    count: int | None,
    rate: float | None,
    days: float | None,
    end: datetime | None,
    customers: int | None,
    seed: int | None,
    late: float,
    duplicates: float,
    broken: float,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Send the events of a synthetic shop to Kinesis.

    Without --rate a history of --days up to --end, as fast as it goes; with --rate events that happen now.
    """
    if rate is not None and (days is not None or end is not None):
        raise click.UsageError("--rate is for events that happen now; --days and --end are for a history")
    try:
        config = ProduceConfig(
            seed=random.randrange(SEEDS) if seed is None else seed,  # noqa: S311  (a shop, no secret)
            end=end or now(),
            count=COUNT if count is None and rate is None else count,
            rate=rate,
            days=DAYS if days is None else days,
            customers=customers,
            late=late,
            duplicates=duplicates,
            broken=broken,
        )
    except ProduceError as error:
        raise click.UsageError(str(error)) from None
    try:
        settings = load_settings()
        failpoints.arm(settings.failpoints)
    except SettingsError as error:
        raise UserError(str(error), exit_code=CONFIGURATION) from None
    if ledger is None and config.count is not None:
        ledger = settings.home / "ledger" / f"{now():%Y%m%dT%H%M%S}-{config.seed}.jsonl"
    if not as_json:
        click.echo(f"seed {config.seed}, end {config.end.isoformat()}", err=True)
    summary = Summary()
    try:
        _run(settings, config, ledger, summary, quiet=as_json)
    except KinesisError as error:
        raise UserError(f"{error} ({summary.totals.records} records were sent)") from None
    except OSError as error:
        raise UserError(f"the ledger {ledger} cannot be written: {error.strerror or error}") from None
    click.echo(json.dumps(to_json(summary, config, ledger)) if as_json else to_line(summary, config, ledger))
    if summary.stopped and config.count is not None:
        sys.exit(INTERRUPTED)


def _run(
    settings: Settings, config: ProduceConfig, ledger: Path | None, summary: Summary, *, quiet: bool
) -> None:
    stopping = Stopping()
    kept = LedgerWriter(ledger) if ledger else None
    try:
        with stopping.on_signals(), progress_bar("producing", config.count, quiet=quiet) as progress:
            produce_run(
                config,
                make_writer(settings, stopping),
                kept,
                stop=stopping.is_asked,
                progress=progress,
                sleep=stopping.sleep,
                summary=summary,
            )
    except KeyboardInterrupt:
        summary.stopped = True
    finally:
        if kept is not None:
            kept.close()


def to_json(summary: Summary, config: ProduceConfig, ledger: Path | None) -> dict[str, Any]:
    """Give a summary as a program may read it."""
    totals = summary.totals
    return {
        "seed": config.seed,
        "end": config.end.isoformat(),
        "records": totals.records,
        "facts": totals.kinds["fact"],
        "duplicates": totals.kinds["duplicate"],
        "broken": totals.kinds["broken"],
        "late": totals.late,
        "streams": dict(totals.streams),
        "facts_by_stream": dict(totals.facts_by_stream),
        "reasons": dict(totals.reasons),
        "seconds": round(summary.seconds, 3),
        "per_second": round(summary.per_second, 1),
        "stopped": summary.stopped,
        "ledger": None if ledger is None else str(ledger),
    }


def to_line(summary: Summary, config: ProduceConfig, ledger: Path | None) -> str:
    """Give a summary as one line."""
    totals = summary.totals
    kept = f"; ledger: {ledger}" if ledger else ""
    return (
        f"{'stopped: ' if summary.stopped else ''}{totals.records} records sent in {summary.seconds:.1f} s "
        f"({summary.per_second:.0f}/s): {totals.kinds['fact']} events, {totals.late} of them late, "
        f"{totals.kinds['duplicate']} duplicates, {totals.kinds['broken']} broken; seed {config.seed}{kept}"
    )
