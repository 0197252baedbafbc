"""The log of changes: whoever follows it misses nothing that commits late, and is given nothing twice."""

import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from sink_examples import (
    NOON,
    clean,
    customer_state,
    log_line,
    page_viewed,
    product_listed,
    product_state,
    profile_updated,
    purchase,
    refund,
    session_day,
    silver,
)

from sinks.changes import Change, CursorAheadError, read_changes, read_closings
from sinks.database import Connection, Database
from sinks.registry import SINKS
from sinks.retention import trim_changes_before
from streams.engine.batch import placed
from streams.silver import Identity, LateEvent
from streams.topics import (
    CLEAN_EVENTS,
    CLEAN_LOGS,
    CLEAN_PRODUCTS,
    SILVER_CUSTOMERS,
    SILVER_IDENTITIES,
    SILVER_LATE_EVENTS,
    SILVER_PRODUCTS,
    SILVER_SESSIONS,
)

pytestmark = pytest.mark.real

DAY = NOON.date()


class Reader:
    """Follows the log, keeping all that it was given."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seen: list[tuple[str, str, date | None]] = []
        self.cursor = 0

    def read(self) -> list[str]:
        with psycopg.connect(self._url, options="-c search_path=ops") as connection:
            changes = read_changes(connection, self.cursor)
        self.cursor = changes.next_cursor
        self.seen += [(item.kind, item.key, item.day) for item in changes.items]
        return sorted(item.key for item in changes.items)

    def read_all(self) -> None:
        """Read until all that has ended by now is read."""
        with psycopg.connect(self._url) as connection:
            row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
        for _ in range(200):
            self.read()
            if self.cursor > int(row[0]):
                return
            time.sleep(0.05)  # another test's transaction may still be running on the server
        raise AssertionError("a transaction has been running for 10 s")


@pytest.fixture
def reader(store: Database, migrated_url: str) -> Reader:  # noqa: ARG001  (empty tables)
    reader = Reader(migrated_url)
    reader.read_all()
    return reader


@pytest.fixture
def writers(migrated_url: str) -> Iterator[list[Connection]]:
    connections = [psycopg.connect(migrated_url, options="-c search_path=ops") for _ in range(3)]
    yield connections
    for connection in connections:
        connection.close()


def touch(connection: Connection, key: str) -> None:
    connection.execute("INSERT INTO ops_changes (kind, key) VALUES ('customer', %s)", (key,))


def test_what_began_earlier_and_commits_later_is_not_missed(
    reader: Reader, writers: list[Connection]
) -> None:
    early, late, _ = writers
    touch(early, "early")
    touch(late, "late")
    late.commit()
    assert reader.read() == []
    assert reader.read() == []
    early.commit()
    reader.read_all()
    assert sorted(key for _, key, _ in reader.seen) == ["early", "late"]


def test_a_long_transaction_holds_back_only_what_began_after_it(
    reader: Reader, writers: list[Connection]
) -> None:
    before, long, after = writers
    touch(before, "before")
    touch(long, "long")
    touch(after, "after")
    before.commit()
    after.commit()
    assert reader.read() == ["before"]
    touch(long, "long, too")
    assert reader.read() == []
    long.commit()
    reader.read_all()
    assert [key for _, key, _ in reader.seen[1:]] != []
    assert sorted(key for _, key, _ in reader.seen) == ["after", "before", "long", "long, too"]


def test_what_was_rolled_back_is_not_given_and_holds_nobody_back(
    reader: Reader, writers: list[Connection]
) -> None:
    undone, done, _ = writers
    touch(undone, "undone")
    touch(done, "done")
    done.commit()
    undone.rollback()
    reader.read_all()
    assert [key for _, key, _ in reader.seen] == ["done"]


def test_a_thing_touched_often_is_given_once_a_reading_and_again_when_touched_again(
    reader: Reader, writers: list[Connection]
) -> None:
    for connection in writers[:2]:
        touch(connection, "c")
        touch(connection, "c")
        connection.commit()
    reader.read_all()
    assert [key for _, key, _ in reader.seen] == ["c"]
    touch(writers[0], "c")
    writers[0].commit()
    reader.read_all()
    assert [key for _, key, _ in reader.seen] == ["c", "c"]


def test_a_cursor_that_is_ahead_of_the_database_is_refused(reader: Reader) -> None:
    reader.cursor += 10**9
    with pytest.raises(CursorAheadError, match="build everything anew"):
        reader.read()


def test_many_that_overlap_and_roll_back_are_each_given_exactly_once(
    reader: Reader, migrated_url: str
) -> None:
    committed: list[str] = []
    stop = threading.Event()

    def write(seed: int) -> None:
        random_ = random.Random(seed)
        with psycopg.connect(migrated_url, options="-c search_path=ops") as connection:
            for n in range(40):
                keys = [f"{seed}-{n}-{i}" for i in range(random_.randrange(1, 4))]
                for key in keys:
                    touch(connection, key)
                    time.sleep(random_.random() * 0.004)
                if random_.random() < 0.2:
                    connection.rollback()
                else:
                    connection.commit()
                    committed.extend(keys)

    def follow() -> None:
        while not stop.is_set():
            reader.read()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(5)]
    following = threading.Thread(target=follow)
    for thread in (*threads, following):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    following.join()
    reader.read_all()
    assert sorted(key for _, key, _ in reader.seen) == sorted(committed)


def written(reader: Reader, store: Database, topic: str, *records: object) -> set[tuple[object, ...]]:
    """What following the log gives for a batch, and nothing more when the batch comes again."""
    reader.seen = []
    assert SINKS[topic](store, placed(records, 0)) == []  # type: ignore[arg-type]  # records of this test's own
    reader.read_all()
    return set(reader.seen)


def test_all_that_facts_touch_is_in_the_log_once(reader: Reader, store: Database) -> None:
    visitor = page_viewed(3, "v1", product_id="p2")
    visitor.customer_id = None
    later = NOON + timedelta(days=1)
    events = [
        purchase(1),
        refund(2, "c2"),
        visitor,
        profile_updated(4, "c3", at=later),
        page_viewed(5, "c4", later),
    ]
    records = [clean(event, number) for number, event in enumerate(events, 1)]
    assert written(reader, store, CLEAN_EVENTS, *records) == {
        ("customer", "c1", DAY),
        ("product", "p1", DAY),
        ("customer", "c2", DAY),
        ("visitor", "v1", DAY),
        ("product", "p2", DAY),
        ("customer", "c3", DAY + timedelta(days=1)),
        ("customer", "c4", DAY + timedelta(days=1)),
    }
    assert written(reader, store, CLEAN_EVENTS, *records) == set()
    assert written(reader, store, CLEAN_PRODUCTS, clean(product_listed(6, "p3"), 6)) == {
        ("product", "p3", DAY)
    }
    assert written(reader, store, CLEAN_LOGS, clean(log_line(7), 7)) == {("service", "api", DAY)}


def test_all_that_entities_touch_is_in_the_log(reader: Reader, store: Database) -> None:
    link = Identity(anonymous_id="v1", customer_id="c1", seen_at=NOON)
    late = LateEvent(
        event_id="00000000-0000-0000-0000-000000000001",
        occurred_at=NOON,
        lateness_seconds=4000,
        outcome="merged",
    )
    for topic, record, expected in (
        (SILVER_CUSTOMERS, customer_state("c1", (1, 1)), {("customer", "c1", None)}),
        (SILVER_PRODUCTS, product_state("p1", (1, 1)), {("product", "p1", None)}),
        (SILVER_SESSIONS, session_day("v1", (1, 1), NOON), {("session", "v1", DAY)}),
        (SILVER_SESSIONS, session_day("v1", (1, 2)), {("session", "v1", DAY)}),
        (SILVER_IDENTITIES, silver(link, "v1", (1, 1)), {("identity", "v1", DAY), ("customer", "c1", DAY)}),
        (SILVER_LATE_EVENTS, silver(late, "1", (1, 1)), {("late_event", "merged", DAY)}),
    ):
        assert written(reader, store, topic, record) == expected
    for topic, record in (
        (SILVER_CUSTOMERS, customer_state("c1", (1, 0))),
        (SILVER_SESSIONS, session_day("v1", (1, 0), NOON)),
        (SILVER_IDENTITIES, silver(link, "v1", (1, 1))),
        (SILVER_LATE_EVENTS, silver(late, "1", (1, 1))),
    ):
        assert written(reader, store, topic, record) == set()


def test_time_closes_a_session_when_nothing_can_join_it_any_more_and_each_is_told_once(
    store: Database, migrated_url: str
) -> None:
    gap = timedelta(minutes=30)
    ended = NOON + timedelta(minutes=5)
    for visitor, start in (("v1", NOON), ("v2", NOON + timedelta(hours=3))):
        SINKS[SILVER_SESSIONS](store, placed([session_day(visitor, (1, 1), start)], 0))  # type: ignore[list-item]  # a record
    with psycopg.connect(migrated_url, options="-c search_path=silver") as connection:

        def closed(since: datetime, until: datetime) -> list[Change]:
            return list(read_closings(connection, since, until, gap))

        last_that_joins = ended + gap
        assert closed(NOON, last_that_joins) == []
        just_later = last_that_joins + timedelta(microseconds=1)
        assert closed(last_that_joins, just_later) == [Change("session", "v1", DAY)]
        assert closed(just_later, NOON + timedelta(hours=3)) == []
        assert closed(just_later, NOON + timedelta(days=1)) == [Change("session", "v2", DAY)]


def test_only_old_changes_that_gold_has_taken_in_are_deleted(
    reader: Reader, store: Database, writers: list[Connection]
) -> None:
    first, second, books = writers
    now = datetime.now(UTC)
    touch(first, "taken in")
    first.commit()
    reader.read_all()
    touch(second, "not yet")
    second.commit()
    later = now + timedelta(hours=1)
    assert trim_changes_before(store, later) == 0
    for status, to_xid in (("success", reader.cursor), ("failed", reader.cursor + 10**6)):
        books.execute(
            "INSERT INTO ops_dbt_runs (run_id, started_at, status, to_xid) "
            "VALUES (%s, now(), %s, %s::text::xid8)",
            (status, status, str(to_xid)),
        )
    books.commit()
    assert trim_changes_before(store, now - timedelta(hours=1)) == 0
    assert trim_changes_before(store, later, dry_run=True) == 1
    assert trim_changes_before(store, later) == 1
    left = books.execute("SELECT key FROM ops_changes").fetchall()
    assert left == [("not yet",)]
