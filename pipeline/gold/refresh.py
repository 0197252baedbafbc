"""Whether a build may go on from the one before, or must make everything anew."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, select, text

from sinks.changes import REBUILT

BUILT_FROM: Final = (
    *("models", "macros", "data_tests", "dbt_project.yml"),
    *("seeds/channels.csv", "seeds/rfm_segments.csv"),
)
"""What incremental tables are made from, and tested against; the other seeds are read only by models that
each build makes anew."""


@dataclass(frozen=True)
class Versions:
    """Digests of what tables are made from: of the project with its variables, and of its seeds."""

    project: str
    seeds: str


def versions(project: Path, variables: Mapping[str, Any]) -> Versions:
    """Give the versions of a project of dbt."""
    given = json.dumps(variables, sort_keys=True).encode()
    return Versions(_digest(project, BUILT_FROM, given), _digest(project, ("seeds",), b""))


def _digest(project: Path, names: Sequence[str], given: bytes) -> str:
    digest = hashlib.sha256(given)
    for name in names:
        path = project / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.relative_to(project)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def why_anew(connection: Connection, version: Versions, as_of: datetime | None) -> str:
    """Say why everything must be made anew, empty if a build may go on from the one before.

    Args:
        connection: to the database, of any isolation.
        version: of the project.
        as_of: of the build; None for now.
    """
    if connection.scalar(select(func.to_regclass("staging.snapshot_run"))) is None:
        return "nothing is built yet"
    columns = connection.scalars(
        text("SELECT attname FROM pg_attribute WHERE attrelid = 'staging.snapshot_run'::regclass")
    ).all()
    if "project" not in columns:
        return "the copy of silver is of another version"
    last = connection.execute(
        text("""
            SELECT
                project,
                as_of > coalesce(:as_of, now()) AS is_later,
                to_xid > pg_snapshot_xmin(pg_current_snapshot()) AS is_ahead,
                EXISTS (SELECT FROM ops.ops_changes WHERE kind = :rebuilt AND xid >= to_xid) AS is_rebuilt
            FROM staging.snapshot_run
        """),
        {"as_of": as_of, "rebuilt": REBUILT},
    ).one_or_none()
    if last is None:
        return "nothing is built yet"
    reasons = (
        (last.project != version.project, "the build before was of another project, or did not hold"),
        (last.is_later, "the build before is of a later instant"),
        (last.is_ahead, "the database was restored, or is another one"),
        (last.is_rebuilt, "silver was rebuilt"),
    )
    return next((why for holds, why in reasons if holds), "")


def has_seeds(connection: Connection, version: Versions) -> bool:
    """Say whether the seeds of this version are there, where a build goes on from the one before."""
    return bool(connection.scalar(text("SELECT seeds FROM staging.snapshot_run")) == version.seeds)


def note_done(connection: Connection, version: Versions, *, went_on: bool) -> None:
    """Note that all is built from what was copied, and holds: the next build may go on from here.

    Args:
        connection: to the database, of any isolation.
        version: of the project.
        went_on: the build was not made anew; if a model has found then that its table was gone, and has taken
            the project's version away, nothing is noted.
    """
    connection.execute(
        text("""
            UPDATE staging.snapshot_run SET is_built = true, project = :project, seeds = :seeds
            WHERE NOT :went_on OR project IS NOT NULL
        """),
        {"project": version.project, "seeds": version.seeds, "went_on": went_on},
    )
