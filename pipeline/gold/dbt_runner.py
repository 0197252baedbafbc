"""dbt, run in this process: what it is told, and what it gives back."""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict

from pipeline.errors import UserError
from pipeline.gold.checks import Check, check_of_source, check_of_test

STAR: Final = ("--exclude", "path:models/gold", "--indirect-selection", "buildable")
"""What is built first: all but gold, and the tests that need no more."""
STAR_WITHOUT_LARGE_SEEDS: Final = (*STAR[:2], "marketing_spend", "exchange_rates", *STAR[2:])
"""The same where no seed has changed: to load these takes seconds. The others have to be among what is built,
else tests that look at them too would not be run."""
WITHOUT_UNIT_TESTS: Final = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure")
"""Nor exposures: they say who reads gold, and there is nothing to build."""
GOLD: Final = ("--select", "path:models/gold", "--indirect-selection", "eager")
"""What is built from the star: gold, and the tests that look at it, whatever else they look at."""

Progress = Callable[[int, int], None]
"""Called with how many models and tests are done, and how many there are; from any thread, one at a time."""


@dataclass(frozen=True)
class Outcome:
    """What dbt gave back.

    Args:
        nodes: one each, with name, kind, status, seconds, failures and message.
        stopped: why there are none, or not all; empty if there are.
        checks: what its tests, or the freshness of its sources, say.
    """

    nodes: tuple[dict[str, Any], ...] = ()
    stopped: str = ""
    checks: tuple[Check, ...] = ()

    def then(self, later: "Outcome") -> "Outcome":
        """Give this and what was done after it as one."""
        return Outcome(self.nodes + later.nodes, self.stopped or later.stopped, self.checks + later.checks)

    @property
    def is_good(self) -> bool:
        """Say whether all was built, and every test of severity error holds."""
        return not self.stopped and not self.failed

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that were built."""
        return tuple(
            node["name"] for node in self.nodes if (node["kind"], node["status"]) == ("model", "success")
        )

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
    command: Sequence[str], home: Path, project: Path, variables: Mapping[str, Any], *, aside: bool = True
) -> list[str]:
    """Give the arguments of a command of dbt that all have in common; it writes only to the home.

    Args:
        command: and its options.
        home: of the pipeline.
        project: folder of the dbt project.
        variables: beside `aside`.
        aside: gold is what is built aside, to be published if it is good; else what readers see. dbt parses
            the project anew whenever a variable changes, so either has a target folder of its own.
    """
    return [
        *command,
        *("--project-dir", str(project)),
        *("--profiles-dir", str(project)),
        *("--target-path", str(_target(home, aside=aside))),
        *("--log-path", str(home.resolve() / "logs" / "dbt")),
        *("--log-level", "none"),
        *("--log-level-file", "info"),
        *("--vars", json.dumps({**variables, "aside": aside})),
        "--no-write-json",
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
    """Build and test a selection; blocks. Unit tests are left to development: they test no data."""
    arguments = [
        *dbt_arguments(["build"], home, project, variables),
        *(*WITHOUT_UNIT_TESTS, *selection),
        *(["--full-refresh"] if full_refresh else []),
    ]
    return _invoke(url, arguments, on_progress)


def run_tests(
    url: str, home: Path, project: Path, variables: Mapping[str, Any], on_progress: Progress | None
) -> Outcome:
    """Run all tests of data on what was built last, and look at the freshness of sources; blocks."""
    tests = [*dbt_arguments(["test"], home, project, variables), *WITHOUT_UNIT_TESTS]
    freshness = dbt_arguments(["source", "freshness"], home, project, variables)
    return _invoke(url, tests, on_progress).then(_invoke(url, freshness, None))


def write_documentation(url: str, home: Path, project: Path, variables: Mapping[str, Any]) -> Path:
    """Write dbt's documentation of the project and the tables that are there, as one page; give its path.

    Raises:
        UserError: dbt could not write it.
    """
    arguments = dbt_arguments(["docs", "generate", "--static"], home, project, variables, aside=False)
    arguments.remove("--no-write-json")  # the page is made of them
    outcome = _invoke(url, arguments, None)
    failed = outcome.failed
    if outcome.stopped or failed:
        reason = outcome.stopped or f"{failed[0]['name']}: {failed[0]['message']}"
        raise UserError(f"the documentation could not be written: {reason}")
    return _target(home, aside=False) / "static_index.html"


def _target(home: Path, *, aside: bool) -> Path:
    return home.resolve() / "dbt" / ("target" if aside else "documentation")


def _invoke(url: str, arguments: Sequence[str], on_progress: Progress | None) -> Outcome:
    """Run dbt; sets the environment variables of `dbt_environment`."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415  (takes two seconds to import; other commands need none of it)

    os.environ.update(dbt_environment(url))
    callbacks = [_progress_callback(on_progress)] if on_progress else []
    result = dbtRunner(callbacks=callbacks).invoke(list(arguments))
    if result.exception is not None:
        return Outcome(stopped=one_line(str(result.exception)))
    results = getattr(result.result, "results", ())
    nodes = tuple(
        {
            "name": item.node.name,
            "kind": str(item.node.resource_type),
            "status": str(item.status),
            "seconds": round(item.execution_time, 3),
            "failures": item.failures,
            "message": one_line(item.message or ""),
        }
        for item in results
    )
    if not result.success and not nodes:
        return Outcome(stopped="dbt built nothing: see logs/dbt in the home")
    return Outcome(nodes, checks=tuple(_checks(results)))


def _checks(results: Iterable[Any]) -> Iterator[Check]:
    for result in results:
        if result.node.resource_type == "test" and str(result.status) != "skipped":
            yield check_of_test(result)
        elif result.node.resource_type == "source":
            yield check_of_source(result)


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
