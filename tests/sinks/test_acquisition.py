"""What brought a customer: `(occurred_at, event_id)` of its earliest event with a context, in any order."""

import random
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import psycopg
import pytest
from sink_databases import empty_tables
from sink_examples import NOON, ARecord, clean, customer_state, event_id, page_viewed, purchase, silver

from sinks.database import Connection, Database
from sinks.mapping.facts import anonymous_visits, facts_of
from sinks.migrations.versions.r0002_acquisition import ACQUISITION
from sinks.registry import SINKS, open_database
from streams.engine.batch import placed
from streams.facts import VisitorEvent
from streams.silver import Identity
from streams.topics import CLEAN_EVENTS, SILVER_CUSTOMERS, SILVER_IDENTITIES

ROWS = """
    SELECT customer_id, acquisition_channel, acquisition_campaign, acquisition_at, acquisition_event_id::text
    FROM silver.silver_customers ORDER BY customer_id
"""

FORGET = b"UPDATE silver.silver_customers SET acquisition_at = NULL, acquisition_event_id = NULL"


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def visit(number: int, visitor: str, minute: int, channel: str | None = "email") -> VisitorEvent:
    event = page_viewed(number, visitor, at(minute), channel=channel, campaign=f"campaign-{number}")
    event.customer_id, event.anonymous_id, event.has_context = None, visitor, channel is not None
    return event


def fact(event: VisitorEvent) -> ARecord:
    return clean(event, int(event.event_id.replace("-", ""), 16))


def link(visitor: str, customer: str, minute: int) -> ARecord:
    return silver(
        Identity(anonymous_id=visitor, customer_id=customer, seen_at=at(minute)), visitor, (1, minute)
    )


def profile(customer: str, offset: int, number: int | None, minute: int = 0, epoch: int = 1) -> ARecord:
    own = (
        {}
        if number is None
        else {
            "acquisition_channel": "direct",
            "acquisition_campaign": f"campaign-{number}",
            "acquisition_at": at(minute),
            "acquisition_event_id": event_id(number),
        }
    )
    return customer_state(customer, (epoch, offset), **own)


def rows(store: Database) -> list[tuple[object, ...]]:
    return store.transact(lambda connection: connection.execute(ROWS.encode()).fetchall())


def acquired_by(store: Database) -> dict[object, object]:
    return {row[0]: row[2] for row in rows(store)}


def test_only_the_earliest_anonymous_event_with_a_context_counts_of_a_batch() -> None:
    events = [visit(3, "v", 2), visit(2, "v", 1), visit(1, "v", 1, None), visit(4, "w", 1), page_viewed(5)]
    found = anonymous_visits(facts_of(CLEAN_EVENTS, placed(map(fact, events), 0)).facts)
    assert found == {"v": (at(1), event_id(2)), "w": (at(1), event_id(4))}


@pytest.mark.real
@pytest.mark.parametrize("first", ["fact", "link"])
def test_a_linked_visitors_event_counts_whichever_is_stored_first(store: Database, first: str) -> None:
    steps = [(CLEAN_EVENTS, fact(visit(1, "v", 1))), (SILVER_IDENTITIES, link("v", "c1", 9))]
    for topic, record in steps if first == "fact" else steps[::-1]:
        SINKS[topic](store, placed([record], 0))
    assert rows(store) == [("c1", "email", "campaign-1", at(1), event_id(1))]


@pytest.mark.real
def test_the_earlier_one_wins_and_ties_go_to_the_lesser_id(store: Database) -> None:
    SINKS[SILVER_IDENTITIES](store, placed([link("v", "c1", 9)], 0))
    SINKS[CLEAN_EVENTS](store, placed([fact(visit(5, "v", 5))], 0))
    assert acquired_by(store) == {"c1": "campaign-5"}
    SINKS[CLEAN_EVENTS](store, placed([fact(visit(6, "v", 5)), fact(visit(7, "v", 6))], 0))
    assert acquired_by(store) == {"c1": "campaign-5"}
    SINKS[CLEAN_EVENTS](store, placed([fact(visit(4, "v", 5))], 0))
    assert acquired_by(store) == {"c1": "campaign-4"}
    SINKS[SILVER_CUSTOMERS](store, placed([profile("c1", 1, 8, minute=4)], 0))
    assert acquired_by(store) == {"c1": "campaign-8"}
    SINKS[SILVER_CUSTOMERS](store, placed([profile("c1", 2, None)], 0))
    assert acquired_by(store) == {"c1": "campaign-8"}


@pytest.mark.real
def test_events_without_context_of_others_and_of_customers_do_not_count(store: Database) -> None:
    known = visit(3, "v", 1)
    known.customer_id = known.visitor_id = "c2"
    records = [fact(visit(1, "v", 1, None)), fact(visit(2, "w", 1)), fact(known)]
    SINKS[CLEAN_EVENTS](store, placed(records, 0))
    SINKS[SILVER_IDENTITIES](store, placed([link("v", "c1", 9)], 0))
    assert rows(store) == []


@pytest.mark.real
def test_of_two_customers_on_one_device_and_two_devices_of_one_each_gets_the_earliest(
    store: Database,
) -> None:
    SINKS[CLEAN_EVENTS](store, placed([fact(visit(1, "v", 3)), fact(visit(2, "w", 2))], 0))
    SINKS[SILVER_IDENTITIES](store, placed([link("v", "c1", 9), link("v", "c2", 10), link("w", "c2", 11)], 0))
    assert acquired_by(store) == {"c1": "campaign-1", "c2": "campaign-2"}


@pytest.mark.real
def test_a_customer_whose_acquisition_changed_is_in_the_change_log(store: Database) -> None:
    def changes() -> list[tuple[object, ...]]:
        query = b"SELECT kind, key FROM ops.ops_changes WHERE key = 'c1'"
        return store.transact(lambda connection: connection.execute(query).fetchall())

    SINKS[SILVER_IDENTITIES](store, placed([link("v", "c1", 9)], 0))
    seen = len(changes())
    for _ in range(2):
        SINKS[CLEAN_EVENTS](store, placed([fact(visit(1, "v", 1))], 0))
        assert changes()[seen:] == [("customer", "c1")]


Wrapped = Callable[[Connection], object]


class Paused(Database):
    """A database whose first writing transaction waits before its commit until it is let go."""

    def __init__(self, url: str, table: str) -> None:
        super().__init__(url, prepare=open_database(url)._prepare, retry_seconds=30)
        self.wrote, self.go, self._table = threading.Event(), threading.Event(), table

    def transact(self, work: Wrapped) -> object:  # type: ignore[override]  # of one result only
        def waiting(connection: Connection) -> object:
            done = work(connection)
            row = connection.execute(f"SELECT count(*) FROM {self._table}".encode()).fetchone()
            if row != (0,) and not self.go.is_set():
                self.wrote.set()
                assert self.go.wait(20)
            return done

        return super().transact(waiting)


@pytest.mark.real
@pytest.mark.parametrize("late", ["fact", "link"])
def test_of_two_transactions_that_overlap_neither_order_of_commits_misses(
    migrated_url: str, store: Database, late: str
) -> None:
    """The one has written and not committed; the other begins, writes, commits; then the one commits."""
    fact_step = (CLEAN_EVENTS, fact(visit(1, "v", 1)), "silver_product_events")
    link_step = (SILVER_IDENTITIES, link("v", "c1", 9), "silver_identities")
    slow, fast = (fact_step, link_step) if late == "fact" else (link_step, fact_step)
    paused = Paused(migrated_url, slow[2])
    thread = threading.Thread(target=partial(SINKS[slow[0]], paused, placed([slow[1]], 0)))
    thread.start()
    assert paused.wrote.wait(20)
    SINKS[fast[0]](store, placed([fast[1]], 0))
    assert rows(store) == []
    paused.go.set()
    thread.join(20)
    assert acquired_by(store) == {"c1": "campaign-1"}
    paused.close()


@pytest.mark.real
def test_a_crash_between_the_two_transactions_heals_when_the_batch_comes_again(store: Database) -> None:
    def only_first(database: Database, work: Wrapped) -> object:
        if getattr(database, "did", False):
            raise psycopg.OperationalError("killed")
        database.did = True  # type: ignore[attr-defined]  # this test's own
        return Database.transact(database, work)

    SINKS[SILVER_IDENTITIES](store, placed([link("v", "c1", 9)], 0))
    records = [fact(visit(1, "v", 1))]
    store.transact = partial(only_first, store)  # type: ignore[method-assign]  # a process that is killed
    with pytest.raises(psycopg.OperationalError):
        SINKS[CLEAN_EVENTS](store, placed(records, 0))
    del store.transact
    assert rows(store) == []
    SINKS[CLEAN_EVENTS](store, placed(records, 0))
    assert acquired_by(store) == {"c1": "campaign-1"}


def random_history(random_: random.Random) -> list[tuple[str, ARecord]]:
    """Facts, links and profiles of a few visitors and customers; the profiles in the order of revisions."""
    steps: list[tuple[str, ARecord]] = []
    own: dict[str, list[tuple[datetime, str, VisitorEvent]]] = {}
    for number in range(1, 60):
        visitor, customer, minute = (
            f"v{random_.randrange(5)}",
            f"c{random_.randrange(4)}",
            random_.randrange(20),
        )
        kind = random_.randrange(4)
        if kind == 0:
            steps.append((SILVER_IDENTITIES, link(visitor, customer, minute)))
        elif kind == 1:
            event = page_viewed(number, customer, at(minute), channel="direct", campaign=f"campaign-{number}")
            event.anonymous_id = visitor
            own.setdefault(customer, []).append((event.occurred_at, event.event_id, event))
            steps.append((CLEAN_EVENTS, fact(event)))
            earliest = min(own[customer])[2]
            first = int(earliest.event_id.replace("-", ""), 16)
            elapsed = int((earliest.occurred_at - NOON).total_seconds()) // 60
            steps.append((SILVER_CUSTOMERS, profile(customer, number, first, elapsed)))
        else:
            steps.append(
                (CLEAN_EVENTS, fact(visit(number, visitor, minute, random_.choice(["email", None]))))
            )
    return steps


def in_batches(
    random_: random.Random, steps: Sequence[tuple[str, ARecord]]
) -> list[tuple[str, list[ARecord]]]:
    batches: list[tuple[str, list[ARecord]]] = []
    for topic, record in steps:
        if batches and batches[-1][0] == topic and random_.random() < 0.7:
            batches[-1][1].append(record)
        else:
            batches.append((topic, [record]))
    return batches


@pytest.mark.real
@pytest.mark.parametrize("seed", range(4))
def test_any_order_and_repetition_gives_what_one_query_over_the_facts_gives(
    migrated_url: str, store: Database, seed: int
) -> None:
    random_ = random.Random(seed)
    steps = random_history(random_)
    found = set()
    for _ in range(4):
        empty_tables(migrated_url)
        shuffled = steps + random_.sample(steps, 20)
        random_.shuffle(shuffled)
        for topic, batch in in_batches(random_, shuffled):
            SINKS[topic](store, placed(batch, 0))
        merged = rows(store)
        found.add(repr(merged))
        store.transact(lambda connection: connection.execute(FORGET))
        store.transact(lambda connection: connection.execute(ACQUISITION.encode()))
        assert rows(store) == merged
    assert len(found) == 1
    assert sum(row[3] is not None for row in merged) >= 3


@pytest.mark.real
def test_a_purchase_alone_makes_a_row_without_acquisition(store: Database) -> None:
    SINKS[CLEAN_EVENTS](store, placed([clean(purchase(1), 1)], 0))
    assert acquired_by(store) == {"c1": None}
