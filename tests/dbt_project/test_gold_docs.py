"""dbt's documentation of gold is one page, written to a file or served."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import Built

from pipeline.commands.gold import gold

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]


def test_the_page_has_every_model_of_gold_with_its_columns(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.gold.load_settings", lambda: built.settings)
    page = tmp_path / "gold.html"
    done = CliRunner().invoke(gold, ["docs", "--out", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    for row in built.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'gold'"):
        assert f"model.event_pipeline.{row['table_name']}" in text
    assert "Expected purchases of the next 365 days" in text
    assert "Purchases minus refunds, each on its own day. From `silver_transactions.amount_base`." in text
    for reader in ("pipeline_demo", "pipeline_verify"):
        assert f"exposure.event_pipeline.{reader}" in text


def test_the_page_is_served_and_nothing_else(built: Built) -> None:
    environment = {
        **os.environ,
        "PIPELINE_POSTGRES_URL": built.settings.postgres_url.get_secret_value(),
        "PIPELINE_HOME": str(built.settings.home),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "gold", "docs", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = re.match(r"http://127\.0\.0\.1:\d+/", said)
        assert url is not None, said
        with urllib.request.urlopen(url[0]) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert b"gold_customer_analytics" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url[0]}manifest.json")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
    finally:
        process.kill()
        process.communicate()
