"""`pipeline retention`: throw away what is old, and say what."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
import psycopg
from psycopg import errors

from pipeline.errors import UserError
from pipeline.parameters import MOST_DAYS
from pipeline.postgres import not_answering
from pipeline.settings import load_settings

if TYPE_CHECKING:
    from sinks.database import Database

MIB = 1024 * 1024
DAYS = click.IntRange(1, MOST_DAYS)
CONNECT_SECONDS = 5


@click.command("retention")
@click.option("--bronze-days", type=DAYS, help="Keep so many days of arrival. Default: the setting.")
@click.option("--changes-days", type=DAYS, help="Keep so many days of the change log, likewise.")
@click.option("--hops-days", type=DAYS, help="Keep so many days of samples of hops, likewise.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def retention(
    bronze_days: int | None, changes_days: int | None, hops_days: int | None, *, dry_run: bool
) -> None:
    """Throw away old days of bronze, old changes that gold has taken in, and old samples of hops.

    Facts and dead letters stay, these with their payloads. What bronze no longer has `pipeline rebuild`
    cannot bring back and `pipeline verify` does not cover. To be run by a timer of yours, once a day.
    """
    settings = load_settings()
    from sinks.database import DatabaseUnavailableError  # noqa: PLC0415  (SQLAlchemy is slow to import)
    from sinks.registry import open_database  # noqa: PLC0415  (as above)

    keep = bronze_days or settings.retention_bronze_days
    url = settings.postgres_url.get_secret_value()
    try:  # once: what is not there at first is not waited for
        psycopg.connect(url, connect_timeout=CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        raise not_answering(error) from error
    database = open_database(url, retry_seconds=30)
    now = datetime.now(UTC)
    try:
        if keep is None:
            click.echo("bronze: kept for ever (PIPELINE_RETENTION_BRONZE_DAYS is not set)")
        else:
            _drop_bronze(database, now, keep, dry_run=dry_run)
        _trim(
            database,
            now - timedelta(days=changes_days or settings.retention_changes_days),
            now - timedelta(days=hops_days or settings.retention_hops_days),
            dry_run=dry_run,
        )
    except errors.UndefinedTable as error:
        raise UserError("the database has no tables yet: run `pipeline migrate`") from error
    except (DatabaseUnavailableError, psycopg.Error) as error:
        raise UserError(" ".join(str(error).split())) from error
    finally:
        database.close()


def _drop_bronze(database: "Database", now: datetime, keep: int, *, dry_run: bool) -> None:
    from sinks.retention import bronze_days_before, drop_bronze_before  # noqa: PLC0415  (SQLAlchemy is slow)

    # Today and the days before it, so many in all.
    first_kept = now.date() - timedelta(days=keep - 1)
    found = bronze_days_before if dry_run else drop_bronze_before
    dropped, size = 0, 0
    try:
        for day in found(database, first_kept):
            click.echo(f"{'would drop' if dry_run else 'dropped'} {day.name} ({day.bytes / MIB:.1f} MiB)")
            dropped, size = dropped + 1, size + day.bytes
    except errors.LockNotAvailable as error:
        raise UserError(
            f"bronze: {dropped} partitions dropped; the next is being read by a long query: try again later"
        ) from error
    click.echo(f"bronze: {dropped} partitions before {first_kept}, {size / MIB:.1f} MiB")


def _trim(database: "Database", changes: datetime, hops: datetime, *, dry_run: bool) -> None:
    from sinks.retention import delete_hops_before, trim_changes_before  # noqa: PLC0415  (as above)

    rows = trim_changes_before(database, changes, dry_run=dry_run)
    click.echo(f"ops_changes: {rows} rows before {changes:%Y-%m-%d %H:%M} UTC that gold has taken in")
    rows = delete_hops_before(database, hops, dry_run=dry_run)
    click.echo(f"ops_hops: {rows} rows before {hops:%Y-%m-%d %H:%M} UTC")
