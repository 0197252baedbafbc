"""Sinks while the database goes away, and several at a time on the same keys."""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from sink_examples import NOON, ARecord, clean, customer_state, page_viewed, purchase, raw, session_day

from sinks.database import Connection, Database, DatabaseUnavailableError, Refused, write_bisecting
from sinks.registry import SINKS, open_database
from sinks.writers.bronze import ensure_days
from streams.engine.batch import placed
from streams.topics import CLEAN_EVENTS, SILVER_CUSTOMERS, SILVER_SESSIONS, raw_topic

pytestmark = pytest.mark.real

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def totals(store: Database) -> list[tuple[object, ...]]:
    return store.transact(
        lambda connection: connection.execute(
            b"SELECT customer_id, orders, total_spent FROM silver.silver_customers ORDER BY customer_id"
        ).fetchall()
    )


def test_a_connection_lost_in_mid_batch_is_made_again_and_nothing_is_doubled(
    store: Database, migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch waits for a lock inside its transaction; there its connection is ended by the server."""
    batch = [clean(purchase(n, "c1", "1.50"), n) for n in range(500)]
    SINKS[CLEAN_EVENTS](store, placed([clean(purchase(1000, "c1", "1.50"), 1000)], 0))
    with psycopg.connect(migrated_url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT FROM silver.silver_customers WHERE customer_id = 'c1' FOR UPDATE")
        written = pool.submit(SINKS[CLEAN_EVENTS], store, placed(batch, 0))
        pid = blocked_pid(other)
        assert not written.done()
        with caplog.at_level(logging.WARNING, "sinks.database"):
            assert other.execute("SELECT pg_terminate_backend(%s)", (pid,)).fetchone() == (True,)
            time.sleep(0.3)
            other.rollback()
            assert written.result(timeout=20) == []
    assert totals(store) == [("c1", 501, Decimal("751.5"))]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "terminating connection" in told[0]
    assert "is back" in told[1]


def blocked_pid(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    """The process that waits for a lock of this connection's."""
    for _ in range(500):
        row = connection.execute(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND pg_backend_pid() = ANY (pg_blocking_pids(pid))
            """
        ).fetchone()
        if row is not None:
            return row[0]
        time.sleep(0.02)
    raise AssertionError("nobody waits for our lock")


def test_a_writer_that_stands_still_in_a_transaction_does_not_keep_its_locks(
    store: Database, migrated_url: str
) -> None:
    """As a process that is stopped, or a machine that is paused: all others would wait for it."""
    SINKS[CLEAN_EVENTS](store, placed([clean(purchase(1, "c1", "1.50"), 1)], 0))
    lock = b"SELECT FROM silver.silver_customers WHERE customer_id = 'c1' FOR UPDATE"
    held, go_on, tries = threading.Event(), threading.Event(), []

    def stand_still(connection: Connection) -> int:
        tries.append(connection.info.backend_pid)
        connection.execute(lock)
        held.set()
        go_on.wait(20)
        return len(connection.execute(b"SELECT 1").fetchall())

    frozen = Database(migrated_url, idle_seconds=0.3)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(frozen.transact, stand_still)
        assert held.wait(20)
        store.transact(lambda connection: connection.execute(b"SET LOCAL lock_timeout = '10s'; " + lock))
        go_on.set()
        assert written.result(timeout=20) == 1
    frozen.close()
    assert len(tries) == 2


def test_a_server_process_that_stands_still_is_left_and_the_transaction_done_on_another(
    store: Database, migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is stopped in mid-transaction: it says nothing, and none of its own time-outs can strike."""
    stopped: list[int] = []

    def work(connection: Connection) -> str:
        connection.execute("SELECT 1")
        if not stopped:
            stopped.append(connection.info.backend_pid)
            os.kill(stopped[0], signal.SIGSTOP)
        connection.execute("SELECT 2")
        return "done"

    impatient = Database(migrated_url, attempt_seconds=0.5)
    try:
        with caplog.at_level(logging.WARNING, "sinks.database"):
            assert impatient.transact(work) == "done"
    finally:
        os.kill(stopped[0], signal.SIGCONT)
        impatient.close()
    assert "has not answered for" in caplog.records[0].getMessage()
    assert store.transact(lambda connection: connection.execute("SELECT 3").fetchone()) == (3,)


def test_a_transaction_within_its_time_is_not_cut(migrated_url: str) -> None:
    """However long all of a connection's transactions take together."""
    patient = Database(migrated_url, attempt_seconds=1.0)
    try:
        servers = {
            patient.transact(
                lambda connection: connection.execute("SELECT pg_backend_pid(), pg_sleep(0.4)").fetchone()
            )
            for _ in range(4)
        }
        assert len(servers) == 1
    finally:
        patient.close()


def test_a_commit_that_was_not_confirmed_is_harmless_when_done_again(store: Database) -> None:
    """The transaction is committed, but its writer only learns that the connection is lost."""
    batch = [clean(purchase(n), n) for n in range(3)]
    lost = []

    class Forgetful(Database):
        def _attempt(self, work):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  (as in the base class)
            result = super()._attempt(work)
            if not lost:
                lost.append(result)
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return result

    forgetful = Forgetful(store._url, prepare=store._prepare)
    assert SINKS[CLEAN_EVENTS](forgetful, placed(batch, 0)) == []
    forgetful.close()
    assert len(lost) == 1
    assert totals(store) == [("c1", 3, Decimal(30))]


def test_a_database_that_stays_away_is_given_up_after_the_time_allowed() -> None:
    store = open_database(NOWHERE, retry_seconds=0.3)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match="Postgres is away for"):
        SINKS[CLEAN_EVENTS](store, placed([clean(purchase(1), 1)], 0))
    assert time.monotonic() - began < 5


def test_a_stop_ends_the_waiting_at_once() -> None:
    stop = threading.Event()
    store = open_database(NOWHERE, retry_seconds=600, stop=stop)
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(DatabaseUnavailableError):
        SINKS[CLEAN_EVENTS](store, placed([clean(purchase(1), 1)], 0))


def test_an_error_that_will_not_pass_is_raised_at_once(store: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        store.transact(lambda connection: connection.execute(b"SELECT FROM no_such_table"))
    assert store.transact(lambda connection: connection.execute(b"SELECT 1").fetchone()) == (1,)


def test_bisecting_finds_exactly_the_refused_items(store: Database) -> None:
    written: list[int] = []

    def write(connection: Connection, items: Sequence[int]) -> None:
        for item in items:
            connection.execute(b"SELECT 1 / %s", (item % 7,))
        written.extend(items)

    items = list(range(1, 50))
    _, refused = write_bisecting(store, items, write)
    assert refused == [Refused(item, "division by zero") for item in items if item % 7 == 0]
    assert sorted(written) == [item for item in items if item % 7]


def test_writers_at_the_same_time_neither_block_each_other_for_ever_nor_double(store: Database) -> None:
    facts = [clean(purchase(n, f"c{n % 20}", "1.25"), n) for n in range(400)]
    facts += [clean(page_viewed(n, f"c{n % 20}"), n) for n in range(400, 800)]
    states = [customer_state(f"c{n % 20}", (1, n), country="DE") for n in range(100)]
    days = [session_day(f"v{n % 9}", (1, n), NOON + timedelta(minutes=n), events=n) for n in range(90)]

    def write(topic: str, records: list[ARecord], size: int, backwards: bool) -> None:
        batches = [records[at : at + size] for at in range(0, len(records), size)]
        for batch in reversed(batches) if backwards else batches:
            assert SINKS[topic](store, placed(list(reversed(batch)) if backwards else batch, 0)) == []

    work = [
        (topic, records, size, backwards)
        for topic, records in ((CLEAN_EVENTS, facts), (SILVER_CUSTOMERS, states), (SILVER_SESSIONS, days))
        for size, backwards in ((37, False), (53, True))
    ]
    with ThreadPoolExecutor(len(work)) as pool:
        for written in [pool.submit(write, *job) for job in work]:
            written.result(timeout=60)
    assert totals(store) == sorted((f"c{n}", 20, Decimal(25)) for n in range(20))
    sessions = store.transact(
        lambda connection: connection.execute(
            b"SELECT visitor_id, events FROM silver.silver_sessions ORDER BY 1"
        ).fetchall()
    )
    assert sessions == [(f"v{n}", 81 + n) for n in range(9)]


def test_a_day_of_bronze_is_made_by_many_at_once(store: Database) -> None:
    days = [(NOON + timedelta(days=n)).date() for n in range(3)]

    def make(_: int) -> None:
        store.transact(lambda connection: ensure_days(connection, table="bronze_system_logs", days=days))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(12)))
    records = [raw(b"{}", n, at=NOON + timedelta(days=n)) for n in range(3)]
    assert SINKS[raw_topic("system-logs")](store, placed(records, 0)) == []
    found = store.transact(
        lambda connection: connection.execute(
            b"SELECT tableoid::regclass::text FROM bronze.bronze_system_logs ORDER BY 1"
        ).fetchall()
    )
    assert found == [(f"bronze_system_logs_2026030{n}",) for n in (1, 2, 3)]


def test_no_more_connections_are_open_than_allowed(store: Database) -> None:
    narrow = Database(store._url, connections=2)
    with ThreadPoolExecutor(8) as pool:
        pids = set(
            pool.map(
                lambda _: narrow.transact(
                    lambda connection: connection.execute(
                        b"SELECT pg_backend_pid() FROM pg_sleep(0.02)"
                    ).fetchone()
                ),
                range(20),
            )
        )
    narrow.close()
    assert 1 <= len(pids) <= 2
