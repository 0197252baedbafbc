"""What is affected is noted by one model, and before any model that reads it begins."""

import json
from typing import Any

import pytest
from conftest import Built

from pipeline.gold.build import write_docs

pytestmark = [
    pytest.mark.real,
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def nodes(built: Built) -> dict[str, dict[str, Any]]:
    """The models of the project by name."""
    page = write_docs(built.settings, project=built.project)
    manifest = json.loads((page.parent / "manifest.json").read_text())
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


NOTED_BY = {
    "person": "int_stitched_sessions",
    "visitor_of_person": "int_stitched_sessions",
    "subscriber": "int_subscription_spells",
    "month_after": "int_customer_months",
    "booked_day": "int_attribution_credits",
    "sold_day": "int_product_bookings",
}


@pytest.mark.parametrize("kind", NOTED_BY)
def test_what_is_affected_is_noted_before_any_model_reads_it(
    nodes: dict[str, dict[str, Any]], kind: str
) -> None:
    """Else a model would delete rows that were noted while it was made, and not make them again."""
    noting = NOTED_BY[kind]
    readers = {
        name
        for name, node in nodes.items()
        if f"changed('{kind}'" in node["raw_code"]
        or (node["config"]["meta"].get("changed") or [""])[0] == kind
    }
    assert readers
    for reader in readers:
        assert noting in {reader, *ancestors(nodes, reader)}, reader


def test_no_other_model_notes_what_is_affected(nodes: dict[str, dict[str, Any]]) -> None:
    noting = {name for name, node in nodes.items() if "{{ affect_" in node["raw_code"]}
    # the last one notes for itself alone, before it is made
    assert noting == {*NOTED_BY.values(), "gold_product_performance"}
    assert 'pre_hook="{{ affect_days_of_renamed() }}"' in nodes["gold_product_performance"]["raw_code"]


def ancestors(nodes: dict[str, dict[str, Any]], name: str) -> set[str]:
    parents = {parent.rpartition(".")[2] for parent in nodes[name]["depends_on"]["nodes"]} & nodes.keys()
    return parents.union(*(ancestors(nodes, parent) for parent in parents))
