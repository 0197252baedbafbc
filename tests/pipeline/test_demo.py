import json
from datetime import UTC, datetime
from pathlib import Path

from pipeline.commands.demo import as_values
from pipeline.demo import DemoResult
from pipeline.differences import Difference, TableComparison
from pipeline.reconcile import Reconciliation
from producer.run import ProduceConfig

CONFIG = ProduceConfig(seed=3, end=datetime(2026, 6, 1, tzinfo=UTC))


def found(*examples: Difference, missing: int = 0, differing: int = 0) -> Reconciliation:
    return Reconciliation(
        (TableComparison("silver_customers", 5, 5, missing, 0, differing, 0, examples),),
    )


def test_a_demo_whose_silver_agrees_has_not_failed() -> None:
    assert DemoResult(CONFIG, Path("l.jsonl"), reconciliation=found()).failures == []


def test_a_row_that_differs_fails_the_demo_and_is_named() -> None:
    differs = Difference("silver_customers", "differs", "c-1", "orders", "2", "1")
    result = DemoResult(CONFIG, Path("l.jsonl"), reconciliation=found(differs, differing=1))
    assert result.failures == ["silver_customers c-1: orders is 1, expected was 2"]


def test_a_result_can_be_read_by_programs() -> None:
    lost = Difference("silver_customers", "missing", "c-1")
    result = DemoResult(CONFIG, Path("l.jsonl"), reconciliation=found(lost, missing=1))
    values = json.loads(json.dumps(as_values(result)))
    assert values["failures"] == ["silver_customers c-1 is missing"]
    assert (values["ledger"]["lost"], values["ledger"]["agrees"]) == (1, False)
    assert values["conservation"] is None
