"""dbt, run in this process: what it is told, and what it gives back."""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict

STAR: Final = ("--exclude", "path:models/gold", "--indirect-selection", "buildable")
"""What is built first: all but gold, and the tests that need no more."""
GOLD: Final = ("--select", "path:models/gold", "--indirect-selection", "eager")
"""What is built from the star: gold, and the tests that look at it, whatever else they look at."""

Progress = Callable[[int, int], None]
"""Called with how many models and tests are done, and how many there are; from any thread, one at a time."""


@dataclass(frozen=True)
class Outcome:
    """What dbt gave back.

    Args:
        nodes: one each, with name, kind, status, seconds, failures and message.
        stopped: why there are none, empty if there are.
    """

    nodes: tuple[dict[str, Any], ...] = ()
    stopped: str = ""

    def then(self, later: "Outcome") -> "Outcome":
        """Give this and what was done after it as one."""
        return Outcome(self.nodes + later.nodes, later.stopped)

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """What did not succeed; a skipped node only follows from another one."""
        return tuple(node for node in self.nodes if node["status"] in ("error", "fail", "runtime error"))


def dbt_environment(url: str) -> dict[str, str]:
    """Give the environment variables that `dbt/profiles.yml` reads, from a libpq URL."""
    parts = conninfo_to_dict(url)
    user = str(parts.get("user") or "pipeline")
    return {
        "DBT_POSTGRES_HOST": str(parts.get("host") or "127.0.0.1"),
        "DBT_POSTGRES_PORT": str(parts.get("port") or 5432),
        "DBT_POSTGRES_USER": user,
        "DBT_ENV_SECRET_POSTGRES_PASSWORD": str(parts.get("password") or ""),
        "DBT_POSTGRES_DBNAME": str(parts.get("dbname") or user),
        "DBT_POSTGRES_SSLMODE": str(parts.get("sslmode") or "prefer"),
        "DBT_POSTGRES_SSLROOTCERT": str(parts.get("sslrootcert") or ""),
        "DO_NOT_TRACK": "1",
    }


def dbt_arguments(
    home: Path, project: Path, variables: Mapping[str, Any], selection: Sequence[str], *, full_refresh: bool
) -> list[str]:
    """Give the arguments of the build; unit tests are left to development, they test no data."""
    return [
        "build",
        *("--project-dir", str(project)),
        *("--profiles-dir", str(project)),
        *("--target-path", str(home.resolve() / "dbt" / "target")),
        *("--log-path", str(home.resolve() / "logs" / "dbt")),
        *("--log-level", "none"),
        *("--log-level-file", "info"),
        *("--exclude-resource-type", "unit_test"),
        *selection,
        *("--vars", json.dumps(variables)),
        "--no-write-json",
        *(["--full-refresh"] if full_refresh else []),
    ]


def invoke_dbt(
    url: str,
    home: Path,
    project: Path,
    variables: Mapping[str, Any],
    selection: Sequence[str],
    *,
    full_refresh: bool,
    on_progress: Progress | None,
) -> Outcome:
    """Build a selection; blocks. Sets the variables of `dbt_environment`, writes only to the home."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415  (takes two seconds to import; other commands need none of it)

    os.environ.update(dbt_environment(url))
    arguments = dbt_arguments(home, project, variables, selection, full_refresh=full_refresh)
    callbacks = [_progress_callback(on_progress)] if on_progress else []
    result = dbtRunner(callbacks=callbacks).invoke(arguments)
    if result.exception is not None:
        return Outcome(stopped=one_line(str(result.exception)))
    nodes = tuple(
        {
            "name": item.node.name,
            "kind": str(item.node.resource_type),
            "status": str(item.status),
            "seconds": round(item.execution_time, 3),
            "failures": item.failures,
            "message": one_line(item.message or ""),
        }
        for item in getattr(result.result, "results", ())
    )
    if not result.success and not nodes:
        return Outcome(stopped="dbt built nothing: see logs/dbt in the home")
    return Outcome(nodes)


def _progress_callback(on_progress: Progress) -> Callable[[Any], None]:
    """Give a listener to dbt's events that counts the nodes it says are done."""
    done = 0
    lock = threading.Lock()

    def listen(event: Any) -> None:
        nonlocal done
        if event.info.name not in ("LogModelResult", "LogTestResult", "LogSeedResult"):
            return
        # dbt calls the total of tests by another name than that of models
        data = event.data
        total = data.num_models if event.info.name == "LogTestResult" else data.total
        with lock:
            done += 1
            on_progress(done, total)

    return listen


def one_line(message: str) -> str:
    """Give a message without its line breaks."""
    return " ".join(message.split())
