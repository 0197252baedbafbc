"""Build gold: dbt in this process, one build at a time for a database, each recorded in `ops_dbt_runs`.

What dbt builds is aside; it is published when all of it was built and no test of severity error fails.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from sqlalchemy import Connection, create_engine, func, insert, make_url, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from pipeline.errors import CONFIGURATION, TRY_AGAIN, UserError
from pipeline.gold.checks import Check, record, with_failing_rows
from pipeline.gold.dbt_runner import (
    GOLD,
    STAR,
    STAR_WITHOUT_LARGE_SEEDS,
    Outcome,
    Progress,
    invoke_dbt,
    one_line,
    run_tests,
    write_documentation,
)
from pipeline.gold.publication import PublicationError
from pipeline.gold.publish import Published, Run, publish
from pipeline.gold.refresh import has_seeds, note_done, versions, why_anew
from pipeline.gold.scores import score_customers
from pipeline.settings import REPOSITORY, Settings
from sinks.migrate import MigrationError, check
from sinks.schema import ops_dbt_runs

PROJECT: Final = REPOSITORY / "dbt"
LOCK_KEY: Final = 7_301_846_259_913
"""Key of the advisory lock that lets one build run at a time."""

Status = Literal["success", "failed", "error", "skipped"]


@dataclass(frozen=True, kw_only=True)
class GoldRun:
    """What a build did.

    Args:
        status: `success`; `failed`: a test of severity error did not hold; `error`: something could not be
            built, or not be published; `skipped`: another build was running, so nothing was done. Gold is
            as it was in all cases but the first.
        as_of: what stood for "now" in it; None when it did not come so far.
        seconds: from start to finish.
        models_ok: models and seeds built.
        failed_nodes: names of the models and tests that did not succeed, warnings left out.
        message: one line: what happened first, empty on success.
        anew: why everything was made anew; empty if the build went on from the one before.
        notes: what an operator should know though nothing failed: models of customers' worth that could not
            be fitted, tables that are built no more and stay.
        published: gold is of this run.
        rows_added: of gold, that were new or had changed.
        rows_removed: of gold, that were gone or had changed.
        gold_as_of: what stood for "now" in what gold is of; None when there is none, or nobody noted it.
    """

    run_id: str
    status: Status
    started_at: datetime
    finished_at: datetime
    as_of: datetime | None = None
    seconds: float = 0.0
    models_ok: int = 0
    models_error: int = 0
    tests_passed: int = 0
    tests_failed: int = 0
    tests_warned: int = 0
    failed_nodes: tuple[str, ...] = ()
    message: str = ""
    anew: str = ""
    notes: tuple[str, ...] = ()
    published: bool = False
    rows_added: int = 0
    rows_removed: int = 0
    gold_as_of: datetime | None = None
    results: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong; a build skipped for another one is not wrong."""
        return self.status in ("success", "skipped")

    def summary(self) -> str:
        """Give the run in one line."""
        if self.status == "skipped":
            return f"gold: skipped, {self.message}"
        line = (
            f"gold: {self.status} in {self.seconds:.1f} s: {self.models_ok} built, {self.models_error} not; "
            f"tests: {self.tests_passed} passed, {self.tests_failed} failed, {self.tests_warned} warned"
        )
        anew = f"everything made anew: {self.anew}" if self.anew else ""
        return "; ".join([line, *filter(None, [self.message, anew]), self._gold(), *self.notes])

    def _gold(self) -> str:
        if self.published:
            return f"published: {self.rows_added} rows added, {self.rows_removed} removed"
        if self.gold_as_of is None:
            return "nothing was published"
        return f"the last good gold stands, as of {self.gold_as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def to_json(self) -> str:
        """Give the run as a JSON object; instants are RFC 3339."""
        return json.dumps(asdict(self), default=lambda value: value.isoformat())


def build_gold(
    settings: Settings,
    *,
    as_of: datetime | None = None,
    full_refresh: bool = False,
    project: Path = PROJECT,
    on_progress: Progress | None = None,
) -> GoldRun:
    """Build all of gold from silver aside, test it, and publish it if all is good; blocks until it is done.

    dbt reads the connection from environment variables, which this sets. Its target and logs are under the
    home, so the project's folder is only read.

    Args:
        settings: database, home and session gap.
        as_of: stands for "now", with an offset; what happened at or after it is not seen. None: now.
        full_refresh: make everything anew, also where the build could go on from the one before.
        project: folder of the dbt project.
        on_progress: called with how many models and tests are done, and how many there are; from any thread.

    Raises:
        UserError: the database cannot be reached or lacks a migration.
    """
    url = _checked_url(settings)
    started_at = datetime.now(UTC)
    run_id = str(uuid.uuid4())
    with _locked(url) as connection:
        if connection is None:
            return GoldRun(
                run_id=run_id,
                status="skipped",
                started_at=started_at,
                finished_at=started_at,
                message="another build is running",
            )
        variables = _variables(settings)
        version = versions(project, variables)
        anew = "asked for" if full_refresh else why_anew(connection, version, as_of)
        full_refresh = bool(anew)
        with_seeds = full_refresh or not has_seeds(connection, version)
        _record_start(connection, run_id, started_at, full_refresh=full_refresh)
        if as_of is not None:
            variables["as_of"] = as_of.astimezone(UTC).isoformat()
        build = partial(invoke_dbt, url, settings.home, project, variables, full_refresh=full_refresh)
        outcome = build(STAR if with_seeds else STAR_WITHOUT_LARGE_SEEDS, on_progress=on_progress)
        copied = _copied(connection, started_at)
        notes: list[str] = []
        published = None
        if outcome.is_good:
            notes = score_customers(url, copied["as_of"])
            done = sum(node["kind"] != "operation" for node in outcome.nodes)
            gold = build(GOLD, on_progress=_counting_on(on_progress, done))
            outcome = outcome.then(gold)
            if outcome.is_good:
                try:
                    published = publish(_driver(connection), gold.models, Run(run_id, **copied))
                except (PublicationError, psycopg.Error) as error:
                    outcome = outcome.then(Outcome(stopped=f"gold was not published: {one_line(str(error))}"))
        run = _summarise(
            run_id,
            started_at,
            outcome,
            notes,
            published,
            anew=anew,
            as_of=copied["as_of"],
            gold_as_of=_published_as_of(connection),
        )
        if run.ok:
            note_done(connection, version, went_on=not anew)
        _record_finish(connection, run, copied)
        _record_checks(url, run_id, outcome.checks)
    return run


def check_quality(
    settings: Settings, *, project: Path = PROJECT, on_progress: Progress | None = None
) -> list[Check]:
    """Run all checks of quality on what was built last, and keep their outcomes; blocks until they are done.

    If that build failed, it is not what gold is: it is what an operator has to look at.

    Args:
        settings: database, home and session gap.
        project: folder of the dbt project.
        on_progress: called with how many tests are done, and how many there are; from any thread.

    Raises:
        UserError: the database cannot be reached or lacks a migration, gold is not built yet, or a crash of
            Postgres has emptied what was built, a build is running, or dbt could not do it.
    """
    url = _checked_url(settings)
    with _locked(url) as connection:
        if connection is None:
            raise UserError("gold is being built, which checks it too: try again later", exit_code=TRY_AGAIN)
        if connection.scalar(select(func.to_regclass("gold_next.gold_business_metrics"))) is None:
            raise UserError("gold is not built yet: run `pipeline gold`")
        if connection.scalar(text("SELECT NOT EXISTS (SELECT FROM staging.snapshot_run)")):
            raise UserError("Postgres has crashed since gold was built: run `pipeline gold`")
        outcome = run_tests(url, settings.home, project, _variables(settings), on_progress)
        if outcome.stopped:
            raise UserError(f"the checks could not be run: {outcome.stopped}")
        return _record_checks(url, None, outcome.checks)


def write_docs(settings: Settings, *, project: Path = PROJECT) -> Path:
    """Write dbt's documentation of all models, columns, tests and what they come from, as one page.

    Args:
        settings: database, home and session gap.
        project: folder of the dbt project.

    Returns:
        the page, a file in the home.

    Raises:
        UserError: the database cannot be reached or lacks a migration, or dbt could not write it.
    """
    return write_documentation(_checked_url(settings), settings.home, project, _variables(settings))


def _record_checks(url: str, run_id: str | None, checks: Sequence[Check]) -> list[Check]:
    with psycopg.connect(url) as connection:
        found = with_failing_rows(connection, checks)
        record(connection, run_id, found, datetime.now(UTC))
    return found


def _variables(settings: Settings) -> dict[str, Any]:
    """Give dbt's variables: the same in every run, as dbt parses the project anew whenever one changes."""
    return {"session_gap_seconds": settings.session_gap_seconds}


def _checked_url(settings: Settings) -> str:
    """Give the database's URL, if it is there and has all migrations.

    Raises:
        UserError: it is not, or has not.
    """
    url = settings.postgres_url.get_secret_value()
    try:
        wrong = check(url)
    except MigrationError as error:
        raise UserError(str(error)) from error
    if wrong:
        raise UserError(wrong, exit_code=CONFIGURATION)
    return url


def _counting_on(on_progress: Progress | None, before: int) -> Progress | None:
    """Give what counts what was done before, too."""
    if on_progress is None:
        return None
    return lambda done, total: on_progress(before + done, before + total)


def parse_as_of(value: str) -> datetime:
    """Read `--as-of`: an instant (RFC 3339, UTC if it has no offset), or a day, which means its end in UTC.

    Raises:
        UserError: it is neither.
    """
    try:
        if len(value) == len("2026-01-31"):
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        instant = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise UserError(
            f"--as-of {value!r} is neither a day (2026-01-31) nor an instant (RFC 3339)"
        ) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _summarise(
    run_id: str,
    started_at: datetime,
    outcome: Outcome,
    notes: Sequence[str],
    published: Published | None,
    *,
    anew: str,
    as_of: datetime | None,
    gold_as_of: datetime | None,
) -> GoldRun:
    tests = [node["status"] for node in outcome.nodes if node["kind"] == "test"]
    built = [node["status"] for node in outcome.nodes if node["kind"] in ("model", "seed", "operation")]
    failed = outcome.failed
    status: Status = "success"
    if outcome.stopped or "error" in built:
        status = "error"
    elif failed:
        status = "failed"
    message = outcome.stopped
    if failed:
        message = f"{failed[0]['name']}: {failed[0]['message']}"
    finished_at = datetime.now(UTC)
    return GoldRun(
        run_id=run_id,
        status=status,
        started_at=started_at,
        finished_at=finished_at,
        as_of=as_of,
        seconds=round((finished_at - started_at).total_seconds(), 3),
        models_ok=_count(built, "success"),
        models_error=len(built) - _count(built, "success"),
        tests_passed=_count(tests, "pass"),
        tests_failed=_count(tests, "fail", "error"),
        tests_warned=_count(tests, "warn"),
        failed_nodes=tuple(node["name"] for node in failed),
        message=message,
        anew=anew,
        notes=(*notes, *(published.notes if published else ())),
        published=published is not None,
        rows_added=published.added if published else 0,
        rows_removed=published.removed if published else 0,
        gold_as_of=gold_as_of,
        results=outcome.nodes,
    )


def _count(statuses: Sequence[str], *wanted: str) -> int:
    return sum(status in wanted for status in statuses)


@contextmanager
def _locked(url: str) -> Iterator[Connection | None]:
    """Hold the lock of builds while the block runs; None when another process has it."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    try:
        with engine.connect() as connection:
            got_it = connection.scalar(select(func.pg_try_advisory_lock(LOCK_KEY)))
            yield connection if got_it else None
    except (SQLAlchemyError, psycopg.Error) as error:
        reason = one_line(str(getattr(error, "orig", None) or error))
        raise UserError(f"gold was not built to its end: Postgres says: {reason}") from error


def _record_start(connection: Connection, run_id: str, started_at: datetime, *, full_refresh: bool) -> None:
    # Whoever was running when this lock was free has died; `published_at` tells whether it had published.
    connection.execute(
        update(ops_dbt_runs)
        .where(ops_dbt_runs.c.status == "running")
        .values(status="interrupted", finished_at=func.now(), message="the process ended during the build")
    )
    connection.execute(
        insert(ops_dbt_runs).values(run_id=run_id, started_at=started_at, full_refresh=full_refresh)
    )


def _copied(connection: Connection, started_at: datetime) -> dict[str, Any]:
    """Give `as_of`, `copied_at` and `to_xid` of the copy of silver, None when this run made none."""
    nothing = {"as_of": None, "copied_at": None, "to_xid": None}
    if connection.scalar(select(func.to_regclass("staging.snapshot_run"))) is None:
        return nothing
    row = connection.execute(
        text("SELECT as_of, copied_at, to_xid FROM staging.snapshot_run WHERE copied_at >= :started_at"),
        {"started_at": started_at - timedelta(minutes=5)},  # the server's clock is another one
    ).one_or_none()
    return dict(row._mapping) if row else nothing  # noqa: SLF001  (SQLAlchemy's documented way to a mapping)


def _published_as_of(connection: Connection) -> datetime | None:
    return connection.scalar(
        select(ops_dbt_runs.c.as_of)
        .where(ops_dbt_runs.c.published_at.is_not(None))
        .order_by(ops_dbt_runs.c.published_at.desc())
        .limit(1)
    )


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    """Give the driver's own connection, which has held the lock since the build began."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's, as the URL says
    return driver


def _record_finish(connection: Connection, run: GoldRun, copied: Mapping[str, Any]) -> None:
    connection.execute(
        update(ops_dbt_runs)
        .where(ops_dbt_runs.c.run_id == run.run_id)
        .values(
            finished_at=run.finished_at,
            status=run.status,
            **copied,
            models=run.models_ok + run.models_error,
            tests=run.tests_passed + run.tests_failed + run.tests_warned,
            failures=run.models_error + run.tests_failed,
            failed_nodes=list(run.failed_nodes),
            message=run.message,
            results=list(run.results),
        )
    )
