"""Exposures say who reads gold, and from which tables: exactly those that their SQL names."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.gold.build import PROJECT
from pipeline.settings import REPOSITORY

EXPOSURES: list[dict[str, Any]] = yaml.safe_load((PROJECT / "models/exposures.yml").read_text())["exposures"]
BY_SOURCE = {exposure["config"]["meta"]["source"]: exposure for exposure in EXPOSURES}
MODELS = {path.stem for path in (PROJECT / "models/gold").glob("*.sql")}


def tables_named(sql: str) -> set[str]:
    return set(re.findall(r"\bgold\"?\.\"?(\w+)", sql))


def queries_of(dashboard: Any) -> Iterator[str]:
    """Give the SQL of a dashboard of Grafana: of its panels, those in rows, its variables and annotations."""
    if isinstance(dashboard, list):
        for item in dashboard:
            yield from queries_of(item)
    elif isinstance(dashboard, dict):
        for name, value in dashboard.items():
            if name in ("rawSql", "query", "definition") and isinstance(value, str):
                yield value
            else:
                yield from queries_of(value)


def tables_read(path: Path) -> set[str]:
    """Give the tables of gold that a dashboard or a module reads."""
    text = path.read_text()
    if path.suffix == ".json":
        return {table for query in queries_of(json.loads(text)) for table in tables_named(query)}
    return tables_named(text) & MODELS


def readers() -> dict[str, set[str]]:
    """Give every dashboard and module that reads gold, without what builds it, and the tables it reads."""
    dashboards = (REPOSITORY / "grafana").rglob("*.json")
    modules = set((REPOSITORY / "pipeline").rglob("*.py")) - set((REPOSITORY / "pipeline/gold").rglob("*.py"))
    found = {path: tables_read(path) for path in [*dashboards, *modules]}
    return {str(path.relative_to(REPOSITORY)): tables for path, tables in found.items() if tables}


def test_every_dashboard_and_command_that_reads_gold_is_an_exposure() -> None:
    assert {"pipeline/verify.py", "pipeline/commands/demo.py"} <= readers().keys()
    assert readers().keys() == BY_SOURCE.keys()


@pytest.mark.parametrize("source", sorted(BY_SOURCE))
def test_an_exposure_depends_on_exactly_what_its_sql_reads(source: str) -> None:
    depends = [re.fullmatch(r"ref\('(\w+)'\)", text) for text in BY_SOURCE[source]["depends_on"]]
    assert sorted(found[1] for found in depends if found) == sorted(readers()[source])
    assert all(depends)


@pytest.mark.parametrize("source", sorted(BY_SOURCE))
def test_a_dashboard_is_a_dashboard_and_a_command_is_an_application(source: str) -> None:
    assert BY_SOURCE[source]["type"] == ("dashboard" if source.startswith("grafana/") else "application")


def test_sql_of_a_dashboard_is_found_wherever_grafana_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    panel = {"targets": [{"rawSql": 'SELECT * FROM gold.gold_acquisition JOIN "gold"."gold_x" USING (x)'}]}
    path.write_text(
        json.dumps(
            {
                "title": "not gold.gold_system_health",
                "panels": [{"type": "row", "panels": [panel]}],
                "templating": {"list": [{"query": "SELECT DISTINCT channel FROM gold.gold_channel_returns"}]},
                "annotations": {"list": [{"target": {"rawSql": "SELECT 1 FROM silver.silver_sessions"}}]},
            }
        )
    )
    assert tables_read(path) == {"gold_acquisition", "gold_x", "gold_channel_returns"}
