"""What customers were, from facts, is at each instant what the processor makes of the events up to it."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
from conftest import migrated_database
from psycopg.rows import dict_row

from pipeline.gold.build import GoldRun, build_gold
from pipeline.local.platform import LocalPlatform
from pipeline.settings import Settings
from processors.customers import CustomerState, merge_event, to_customer
from sinks.mapping.facts import changed_fields
from streams.facts import VisitorEvent
from streams.silver import Revision

FIRST = datetime(2023, 12, 30, tzinfo=UTC)
AS_OF = FIRST + timedelta(days=70)
State = tuple[str | None, bool | None, bool]
pytestmark = [
    pytest.mark.real,
    # dbt and what it stands on leave files and sockets to the garbage collector
    pytest.mark.filterwarnings("default"),
]


def make_events(rng: random.Random, customers: int) -> list[VisitorEvent]:
    """Make account events of few instants, so that many fall into one, in no order, some after `AS_OF`."""
    events = []
    for number in range(customers):
        for _ in range(rng.randint(1, 9)):
            kind = rng.choice(["signup", "login", "profile_updated", "profile_updated", "account_deleted"])
            profile = {
                name: rng.choice(values)
                for name, values in {
                    "email": ["ada@example.com", None],
                    "name": ["Ada", None],
                    "country": ["DE", "FR", None],
                    "marketing_opt_in": [True, False, None],
                }.items()
                if kind in ("signup", "profile_updated") and rng.random() < 0.5
            }
            at = FIRST + timedelta(days=8 * rng.randint(0, 9))
            event_id = str(UUID(int=rng.getrandbits(128)))
            events.append(
                VisitorEvent(
                    event_id=event_id,
                    event_type=kind,
                    occurred_at=at,
                    arrived_at=at,
                    content_hash=0,
                    visitor_id=f"c{number}",
                    customer_id=f"c{number}",
                    profile=profile,
                )
            )
    return events


def state_after(events: list[VisitorEvent]) -> State:
    state = CustomerState()
    for event in events:
        merge_event(state, event)
    customer = to_customer("c", state, Revision(1, 0), b"")
    return customer.country, customer.marketing_opt_in, customer.is_deleted


def history_of(events: list[VisitorEvent]) -> list[tuple[datetime, State]]:
    """Give when a customer's state began to be what it was, by merging all events up to each instant."""
    found: list[tuple[datetime, State]] = []
    for at in sorted({event.occurred_at for event in events}):
        state = state_after([event for event in events if event.occurred_at <= at])
        if not found or found[-1][1] != state:
            found.append((at, state))
    return found


def write_silver(connection: psycopg.Connection[Any], events: list[VisitorEvent]) -> None:
    by_customer: dict[str, list[VisitorEvent]] = defaultdict(list)
    for number, event in enumerate(events):
        by_customer[event.customer_id or ""].append(event)
        connection.execute(
            "INSERT INTO silver.silver_customer_events (event_id, content_hash, occurred_at, arrived_at, "
            "stream, stream_epoch, shard, sequence_number, sub_sequence_number, visitor_id, is_bot, "
            "event_type, customer_id, changed) "
            "VALUES (%s, 0, %s, %s, 'customer-events', 0, '', %s, 0, %s, false, %s, %s, %s)",
            (
                *(event.event_id, event.occurred_at, event.arrived_at, str(number), event.visitor_id),
                *(event.event_type, event.customer_id, json.dumps(changed_fields(event.profile or {}))),
            ),
        )
    for customer, own in by_customer.items():
        country, opt_in, is_deleted = state_after(own)
        seen = [event.occurred_at for event in own]
        connection.execute(
            "INSERT INTO silver.silver_customers (customer_id, country, created_at, marketing_opt_in, "
            "first_seen_at, last_seen_at, is_deleted) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (customer, country, min(seen), opt_in, min(seen), max(seen), is_deleted),
        )


@dataclass
class Told:
    events: list[VisitorEvent]
    run: GoldRun
    url: str

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def told(platform: LocalPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    events = make_events(random.Random(7), customers=80)
    with migrated_database(platform) as url:
        with psycopg.connect(url) as connection:
            write_silver(connection, events)
        settings = Settings(_env_file=None, postgres_url=url, home=tmp_path_factory.mktemp("home"))
        yield Told(events, build_gold(settings, as_of=AS_OF), url)


def test_the_history_is_what_the_processor_makes_of_the_events_up_to_each_instant(told: Told) -> None:
    expected: dict[str, list[VisitorEvent]] = defaultdict(list)
    for event in told.events:
        if event.occurred_at < AS_OF:
            expected[event.customer_id or ""].append(event)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in told.rows("SELECT * FROM core.dim_customers_history ORDER BY customer_id, valid_from"):
        found[row["customer_id"]].append(row)
    assert {
        customer: [
            (row["valid_from"], (row["country"], row["marketing_opt_in"], row["is_deleted"])) for row in rows
        ]
        for customer, rows in found.items()
    } == {customer: history_of(events) for customer, events in expected.items()}
    assert max(map(len, found.values())) > 3
    for rows in found.values():
        assert [row["valid_to"] for row in rows] == [
            *(after["valid_from"] for _, after in pairwise(rows)),
            None,
        ]
        assert [row["is_current"] for row in rows] == [False] * (len(rows) - 1) + [True]


def test_what_is_current_agrees_with_profiles_that_are_not_of_later(told: Told) -> None:
    results = {node["name"]: node["status"] for node in told.run.results}
    assert results["customers_history_agrees_with_profiles"] == "pass"
    assert results["customers_history_has_no_gaps"] == "pass"
    # those of later do differ, and are left alone
    [differing] = told.rows("""
        SELECT count(*) AS customers FROM core.dim_customers_history AS history
        JOIN core.dim_customers AS customers USING (customer_id)
        WHERE history.is_current AND history.is_deleted <> customers.is_deleted
    """)
    assert differing["customers"] > 0


def test_no_personal_field_leaves_the_copy_not_even_that_it_was_set(told: Told) -> None:
    for relation in ("staging.stg_customer_events", "core.dim_customers_history"):
        rows = told.rows(f"SELECT to_jsonb(r)::text AS row FROM {relation} AS r")
        assert rows
        assert not any(
            word in row["row"] for row in rows for word in ("email", "name", "set", "cleared", "Ada")
        )
