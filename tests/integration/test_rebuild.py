"""Silver made again from bronze, on real Kafka and Postgres, with workers that go on afterwards."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from bench.raw import raw_message
from pipeline.errors import UserError
from pipeline.local.attached import stopped_workers
from pipeline.local.platform import LocalPlatform
from pipeline.local.programs import Program, worker
from pipeline.prepare import start_pipeline
from pipeline.rebuild.known import unknown_visitors
from pipeline.rebuild.quiet import is_drained, quiet
from pipeline.rebuild.run import rebuild_all, rebuild_visitors
from pipeline.settings import Settings
from pipeline.status import wait_idle
from pipeline.verify import check_conservation
from pipeline.visitors import Visitor
from producer.records import Record
from producer.run import ProduceConfig, make_records
from sinks.rebuild import SCRATCH, TABLES
from sinks.schema import metadata
from streams.engine.crash import EXIT_OPERATOR
from streams.engine.offline import partition_of
from streams.groups import members_of
from streams.topics import SINK_GROUP, raw_topic

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

COUNT = 3_000
EPOCH = 1_700_000_000_000
ARRIVED_AT_MS = 1_772_323_200_000  # 2026-03-01
NOT_COMPARED = {"loaded_at", "updated_at", "revision_epoch", "revision_offset"}


class Pipeline:
    """A platform with `process` and `sink` workers, fed behind Kinesis."""

    def __init__(self, platform: LocalPlatform) -> None:
        self.platform = platform
        self.settings = platform.settings
        self._producer = Producer(self.settings.kafka.librdkafka_producer())
        self._sent = 0

    def send(self, records: list[Record]) -> None:
        """Send records that arrive after all that were sent before."""
        for record in records:
            self._sent += 1
            message = raw_message(record, self._sent, ARRIVED_AT_MS + self._sent, epoch=EPOCH)
            self._producer.produce(message.topic, message.value, message.key, headers=message.headers)
            self._producer.poll(0)
        self._producer.flush()

    def settle(self) -> None:
        assert wait_idle(self.settings, 120)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.platform.postgres_url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def tables(self) -> dict[str, list[str]]:
        """All rows of silver as text, but for what a rebuild may change."""
        found = {}
        for table in TABLES:
            columns = ", ".join(
                column.name
                for column in metadata.tables[f"silver.{table}"].columns
                if column.name not in NOT_COMPARED
            )
            rows = self.query(f"SELECT ({columns})::text FROM silver.{table} ORDER BY 1")
            found[table] = [text for (text,) in rows]
        return found

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            env={"PIPELINE_HOME": str(self.platform.home), "PATH": ""},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def records() -> list[Record]:
    end = datetime(2026, 3, 1, tzinfo=UTC)
    config = ProduceConfig(seed=5, end=end, count=COUNT, days=40, late=0.05, duplicates=0.03, broken=0.02)
    return list(make_records(config))


@pytest.fixture(scope="module")
def pipeline(new_settings: Callable[[], Settings], records: list[Record]) -> Iterator[Pipeline]:
    workers: list[Program] = [worker("process", "process"), worker("sink", "sink")]
    with LocalPlatform(new_settings(), workers) as platform:
        start_pipeline(platform)
        pipeline = Pipeline(platform)
        pipeline.send(records[: COUNT * 3 // 4])
        pipeline.settle()
        yield pipeline


def test_a_rebuild_makes_the_tables_that_are_there(pipeline: Pipeline) -> None:
    before = pipeline.tables()
    assert "rebuilt from" in pipeline.run("rebuild")
    assert pipeline.tables() == before
    assert all(before[table] for table in TABLES)
    assert check_conservation(pipeline.platform.postgres_url).is_conserved


def test_workers_go_on_from_what_was_rebuilt(pipeline: Pipeline, records: list[Record]) -> None:
    pipeline.run("rebuild")
    pipeline.send(records[COUNT * 3 // 4 :])
    pipeline.settle()
    assert check_conservation(pipeline.platform.postgres_url).is_conserved
    live = pipeline.tables()
    pipeline.run("rebuild")
    assert pipeline.tables() == live


def test_what_waits_in_kafka_may_wait(pipeline: Pipeline, records: list[Record]) -> None:
    """As after a change of the gap, when `process` refuses to start: bronze has what nobody has merged."""
    pipeline.platform.stop_worker("process")
    pipeline.send(records[:500])
    assert not is_drained(pipeline.settings)
    pipeline.run("rebuild")
    pipeline.platform.start_workers(["process"])
    pipeline.settle()
    assert check_conservation(pipeline.platform.postgres_url).is_conserved
    live = pipeline.tables()
    pipeline.run("rebuild")
    assert pipeline.tables() == live


def test_a_part_is_not_rebuilt_while_something_waits(pipeline: Pipeline, records: list[Record]) -> None:
    """What waits may touch what is put in place, and would be counted in it twice."""
    pipeline.platform.stop_worker("process")
    pipeline.send(records[:50])
    with (
        pytest.raises(UserError, match="not everything in Kafka is worked off"),
        quiet(pipeline.settings, lambda _: None, drained=True, wait_seconds=1),
    ):
        pytest.fail("not drained")
    pipeline.platform.start_workers(["process"])
    pipeline.settle()


def test_a_rebuild_that_dies_late_changes_nothing_but_to_what_is_right(
    pipeline: Pipeline, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pipeline.tables()

    def die(*_: object) -> None:
        raise RuntimeError("died")

    with quiet(pipeline.settings, lambda _: None):
        for where in ("create_views", "_drop_retired", "put_at_end", "send_all"):
            with monkeypatch.context() as patch:
                patch.setattr(f"pipeline.rebuild.run.{where}", die)
                with pytest.raises(RuntimeError, match="died"):
                    rebuild_all(pipeline.settings)
            assert pipeline.tables() == before, where
    pipeline.send(records[100:150])
    pipeline.settle()
    assert check_conservation(pipeline.platform.postgres_url).is_conserved


def test_workers_refuse_recreated_topics_until_the_state_is_published(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pipeline.tables()

    def die(*_: object) -> None:
        raise RuntimeError("died")

    with quiet(pipeline.settings, lambda _: None, drained=True):
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.rebuild.run.publish_all", die)
            with pytest.raises(RuntimeError, match="died"):
                rebuild_all(pipeline.settings, recreate_topics=True)
        pipeline.platform.start_workers(["process"])
        while pipeline.platform.states()["process"].is_running:
            time.sleep(0.2)
        assert pipeline.platform.states()["process"].exit_code == EXIT_OPERATOR
        stopped = stopped_workers(pipeline.settings)
        assert "exited with 78" in stopped["process"].why
        assert "paused by a rebuild that is running" in stopped["sink"].why
        rebuild_all(pipeline.settings)
    assert {name: rows for name, rows in pipeline.tables().items() if name != "silver_late_events"} == {
        name: rows for name, rows in before.items() if name != "silver_late_events"
    }
    pipeline.platform.start_workers(["process"])


def test_a_table_without_state_is_rebuilt_alone(pipeline: Pipeline) -> None:
    pipeline.settle()
    before = pipeline.tables()
    with psycopg.connect(pipeline.platform.postgres_url) as connection:
        connection.execute("DELETE FROM silver.silver_identities")
    with quiet(pipeline.settings, lambda _: None, drained=True):
        rebuild_all(pipeline.settings, only=["silver_identities"])
    assert pipeline.tables() == before


def test_damage_to_a_table_is_repaired_by_rebuilding_it_alone(pipeline: Pipeline) -> None:
    before = pipeline.tables()
    with psycopg.connect(pipeline.platform.postgres_url) as connection:
        connection.execute("UPDATE silver.silver_sessions SET events = events + 1")
        connection.execute("DELETE FROM silver.silver_customers WHERE customer_id < 'cust-5'")
    pipeline.run("rebuild", "--table", "silver_sessions", "--table", "silver_customers")
    assert pipeline.tables() == before


def test_some_visitors_are_rebuilt_and_others_left_alone(pipeline: Pipeline) -> None:
    before = pipeline.tables()
    ((broken,), (other,)) = pipeline.query(
        "SELECT customer_id FROM silver.silver_transactions GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 2"
    )
    with psycopg.connect(pipeline.platform.postgres_url) as connection:
        for table, column in (("silver_sessions", "visitor_id"), ("silver_transactions", "customer_id")):
            connection.execute(f"DELETE FROM silver.{table} WHERE {column} = %s".encode(), (broken,))
        connection.execute(
            b"UPDATE silver.silver_customers SET orders = -1 WHERE customer_id = %s", (broken,)
        )
        (written,) = connection.execute(
            b"SELECT loaded_at FROM silver.silver_transactions WHERE customer_id = %s LIMIT 1", (other,)
        ).fetchone() or (None,)
    pipeline.run("rebuild", "--customer", broken)
    assert pipeline.tables() == before
    assert written in {
        at
        for (at,) in pipeline.query(
            f"SELECT loaded_at FROM silver.silver_transactions WHERE customer_id = '{other}'"
        )
    }


def test_a_rebuild_is_refused_while_workers_run_elsewhere(pipeline: Pipeline) -> None:
    pipeline.settle()
    while not members_of(pipeline.settings.kafka, SINK_GROUP):
        time.sleep(0.2)
    strangers = pipeline.settings.model_copy(update={"home": pipeline.platform.home / "elsewhere"})
    with pytest.raises(UserError, match="are running"), quiet(strangers, lambda _: None, leave_seconds=1):
        pytest.fail("not quiet")


def test_a_second_rebuild_is_refused_before_it_touches_any_worker(pipeline: Pipeline) -> None:
    with (
        quiet(pipeline.settings, lambda _: None),
        pytest.raises(UserError, match="another rebuild is running"),
        quiet(pipeline.settings, lambda _: None),
    ):
        pytest.fail("two at a time")
    pipeline.settle()


def test_some_visitors_are_not_rebuilt_by_another_rule_than_the_others(pipeline: Pipeline) -> None:
    ((visitor,),) = pipeline.query("SELECT min(visitor_id) FROM silver.silver_sessions")
    other_gap = pipeline.settings.model_copy(update={"session_gap_seconds": 3600})
    before = pipeline.tables()
    with psycopg.connect(pipeline.platform.postgres_url) as connection:
        assert unknown_visitors(connection, [visitor]) == set()
        assert unknown_visitors(connection, [visitor, "nobody"]) == {"nobody"}
    with quiet(pipeline.settings, lambda _: None, drained=True):
        with pytest.raises(UserError, match="made with other settings"):
            rebuild_visitors(other_gap, visitors=[visitor])
        with pytest.raises(UserError, match="bronze has no record of them"):
            rebuild_visitors(pipeline.settings, visitors=["nobody"])
    assert pipeline.tables() == before


def test_another_gap_is_refused_until_a_rebuild(pipeline: Pipeline) -> None:
    rebuilt = pipeline.settings.model_copy(update={"session_gap_seconds": 60})
    before = pipeline.tables()["silver_sessions"]
    with quiet(pipeline.settings, lambda _: None):
        rebuild_all(rebuilt)
        assert len(pipeline.tables()["silver_sessions"]) > len(before)
        rebuild_all(pipeline.settings)
    assert pipeline.tables()["silver_sessions"] == before


def test_another_number_of_partitions_is_taken_up_by_recreating_the_topics(
    pipeline: Pipeline, records: list[Record]
) -> None:
    before = pipeline.tables()
    fewer = pipeline.settings.model_copy(update={"partitions": 3})
    with quiet(pipeline.settings, lambda _: None, drained=True):
        rebuild_all(fewer, recreate_topics=True)
        found = AdminClient(fewer.kafka.librdkafka()).list_topics().topics
        assert {len(found[raw_topic(record.stream)].partitions) for record in records} == {3}
        rebuild_all(pipeline.settings, recreate_topics=True)
    after = pipeline.tables()
    # Lateness is judged by partition, and what a late event did is known of those that were late before.
    del before["silver_late_events"], after["silver_late_events"]
    assert after == before
    pipeline.settle()
    assert is_drained(pipeline.settings)


def test_days_that_have_no_events_any_more_leave_the_tables(pipeline: Pipeline) -> None:
    ((visitor, day),) = pipeline.query(
        "SELECT visitor_id, min(started_at)::date FROM silver.silver_sessions GROUP BY 1 "
        "HAVING count(DISTINCT started_at::date) > 2 ORDER BY 1 LIMIT 1"
    )
    with (
        quiet(pipeline.settings, lambda _: None, drained=True),
        psycopg.connect(pipeline.platform.postgres_url) as connection,
    ):
        for table in ("bronze_transaction_events", "bronze_product_events", "bronze_customer_events"):
            connection.execute(
                f"DELETE FROM bronze.{table} WHERE coalesce(payload ->> 'customer_id', "
                f"payload ->> 'anonymous_id') = %s AND occurred_at::date = %s".encode(),
                (visitor, day),
            )
        connection.commit()
        rebuild_visitors(pipeline.settings, visitors=[visitor])
    days = {
        started.date()
        for (started,) in pipeline.query(
            f"SELECT started_at FROM silver.silver_sessions WHERE visitor_id = '{visitor}'"
        )
    }
    assert days
    assert day not in days
    assert check_conservation(pipeline.platform.postgres_url).is_conserved


def test_one_event_id_with_two_visitors_is_a_dead_letter_and_a_rebuild_takes_it_out_of_sessions(
    pipeline: Pipeline,
) -> None:
    def view(visitor: str) -> Record:
        value = msgspec.json.encode(
            {
                "event_id": "0d0b0e1a-5f7e-4c58-9d54-1c1f3a4b5c6d",
                "event_type": "page_viewed",
                "occurred_at": "2026-03-01T00:10:00Z",
                "anonymous_id": visitor,
            }
        )
        return Record("product-events", value, visitor)

    first, second = "a-visitor-of-one-partition", "and-one-of-another"
    assert partition_of(first.encode(), 8) != partition_of(second.encode(), 8)
    for visitor in (first, second):
        pipeline.send([view(visitor)])
        pipeline.settle()
    sessions = "SELECT visitor_id FROM silver.silver_sessions WHERE visitor_id ~ 'one' ORDER BY 1"
    letters = (
        "SELECT status FROM silver.dead_letters "
        "WHERE reason = 'conflicting_event_id' AND event_id = '0d0b0e1a-5f7e-4c58-9d54-1c1f3a4b5c6d'"
    )
    assert pipeline.query(sessions) == [(first,), (second,)]
    assert pipeline.query(letters) == [("pending",)]
    report = check_conservation(pipeline.platform.postgres_url)
    assert [pair.other for pair in report.agreements if not pair.holds] == ["sessions"]
    assert all(day.is_conserved for day in report.days)
    assert report.refused is not None
    assert Visitor(second, is_customer=False) in report.refused.visitors
    pipeline.run(*report.refused.remedy.split()[1:])
    assert pipeline.query(sessions) == [(first,)]
    assert pipeline.query(letters) == [("pending",)]
    assert check_conservation(pipeline.platform.postgres_url).is_conserved


def test_a_rebuild_that_would_lose_facts_with_bronze_is_refused(pipeline: Pipeline) -> None:
    with psycopg.connect(pipeline.platform.postgres_url) as connection:
        connection.execute("ALTER TABLE bronze.bronze_system_logs_20260301 RENAME TO kept_elsewhere_20260228")
    with quiet(pipeline.settings, lambda _: None):
        with pytest.raises(UserError, match=r"\d+ facts came on days that bronze no longer has"):
            rebuild_all(pipeline.settings)
        assert rebuild_all(pipeline.settings, accept_loss=True).records
    with psycopg.connect(pipeline.platform.postgres_url) as connection:
        connection.execute("ALTER TABLE bronze.kept_elsewhere_20260228 RENAME TO bronze_system_logs_20260301")


def test_a_killed_rebuild_leaves_the_tables_and_the_next_one_sets_the_workers_going(
    pipeline: Pipeline,
) -> None:
    before = pipeline.tables()
    running = {name for name, state in pipeline.platform.states().items() if state.is_running}
    killed = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "rebuild"],
        env={"PIPELINE_HOME": str(pipeline.platform.home), "PATH": ""},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
    )
    scratch = f"SELECT FROM pg_namespace WHERE nspname = '{SCRATCH}'"
    while not pipeline.query(scratch):
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert pipeline.tables() == before
    pipeline.run("rebuild")
    assert pipeline.tables() == before
    assert {name for name, state in pipeline.platform.states().items() if state.is_running} == running
    assert not pipeline.query(scratch)
