"""Whose figures differ because sessions had counted what the database refused, by real stages and sinks."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from dead_letter_examples import EPOCH_MS, NOON, OTHER_ID, viewed
from offline_path import OfflinePath

from pipeline.settings import Settings
from pipeline.verify import check_conservation
from pipeline.visitors import Visitor
from sinks.migrate import upgrade
from streams.ingest.messages import KinesisRecord, Message, Source, to_messages

pytestmark = pytest.mark.real


@pytest.fixture
def path(database: str, tmp_path: Path) -> Iterator[OfflinePath]:
    upgrade(database)
    path = OfflinePath(Settings(_env_file=None, postgres_url=database, home=tmp_path), tmp_path / "state")
    yield path
    path.close()


def arrived(number: int, value: bytes) -> Message:
    at = int((NOON + timedelta(seconds=number)).timestamp() * 1000)
    source = Source("product-events", EPOCH_MS, "shardId-0")
    (message,) = to_messages(source, [KinesisRecord(str(number), 0, "k", at, value)])
    return message


def test_only_visitors_whose_figures_differ_now_are_named_and_only_their_records_counted(
    path: OfflinePath, database: str
) -> None:
    second, third = {"anonymous_id": "v-2"}, {"customer_id": "c-3"}
    own = {**second, "event_id": OTHER_ID, "occurred_at": "2026-03-01T10:00:00Z"}
    sent = ({}, second, third, third, own)
    path.send(arrived(number, viewed(**of_whom)) for number, of_whom in enumerate(sent, 1))
    refused = check_conservation(database).refused
    assert refused is not None
    assert refused.visitors == (Visitor("c-3", is_customer=True), Visitor("v-2", is_customer=False))
    assert refused.records == 3
    assert refused.remedy == "pipeline rebuild --customer=c-3 --visitor=v-2"
    with psycopg.connect(database, autocommit=True) as connection:
        # As a rebuild of this customer leaves it.
        connection.execute("DELETE FROM silver.silver_sessions WHERE visitor_id = 'c-3'")
        refused = check_conservation(database).refused
        assert refused is not None
        assert (refused.records, refused.remedy) == (1, "pipeline rebuild --visitor=v-2")
        # What differs for another reason is not blamed on the records that were put right.
        connection.execute("DELETE FROM silver.silver_sessions WHERE started_at > '2026-03-01T11:00:00Z'")
        report = check_conservation(database)
    assert not report.is_conserved
    assert report.refused is None
