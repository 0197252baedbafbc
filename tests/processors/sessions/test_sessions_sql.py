"""Sessions in the database are what one query over the facts gives: written by the sinks, cut by Postgres."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from builders import NOON, State, event_id, run
from session_reference import GAP
from session_world import MIDNIGHT, cut

from processors.sessions.stage import SessionsStage
from sinks.migrate import upgrade
from sinks.registry import SINKS, open_database
from streams.engine.batch import placed
from streams.facts import RAW_AT, VisitorEvent, encode_fact
from streams.topics import CLEAN_EVENTS, SILVER_SESSIONS
from streams.transport import Headers, TransportIdentity, to_headers

REFERENCE = (Path(__file__).parent / "sessions_from_facts.sql").read_text()
BROWSING = ["page_viewed", "product_viewed", "product_searched", "cart_added", "checkout_started"]
BUYING = [*BROWSING, "purchase", "refund", "login", "logout"]


@dataclass(frozen=True)
class Sent:
    """A record as a sink is handed it."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    offset: int
    timestamp: int = 0


def random_events(seed: int, count: int) -> list[VisitorEvent]:
    """Events of customers and of anonymous visitors around midnights, with steps of the gap and about it."""
    draw = random.Random(seed)
    at = dict.fromkeys(["ann", "bob", "v-1", "v-2"], MIDNIGHT - timedelta(hours=3))
    return [_random_event(draw, number, at) for number in range(1, count + 1)]


def _random_event(draw: random.Random, number: int, at: dict[str, datetime]) -> VisitorEvent:
    visitor = draw.choice(list(at))
    step = draw.choice(
        [GAP, GAP + timedelta(milliseconds=1), timedelta(0), timedelta(minutes=draw.randrange(70))]
    )
    at[visitor] += step
    is_customer = not visitor.startswith("v-")
    kind = draw.choice(BUYING if is_customer else BROWSING)
    money: dict[str, Any] = {}
    if kind in {"purchase", "refund"}:
        amount = Decimal(draw.randrange(1, 99_999)) / 100
        money = {"amount": amount, "amount_base": amount, "currency": "USD", "order_id": f"o{number}"}
    return VisitorEvent(
        event_id=event_id(number * 7919 % 100_003),
        event_type=kind,
        occurred_at=at[visitor],
        arrived_at=NOON,
        content_hash=number,
        visitor_id=visitor,
        customer_id=visitor if is_customer else None,
        anonymous_id=None if is_customer else visitor,
        page_url=draw.choice([None, f"/{number}"]),
        referrer=draw.choice([None, "https://search.example/"]),
        channel=draw.choice(["direct", "email"]),
        campaign=draw.choice([None, "spring"]),
        country=draw.choice([None, "DE"]),
        device=draw.choice([None, "mobile"]),
        browser=draw.choice([None, "Firefox"]),
        is_bot=draw.random() < 0.01,
        profile={} if kind in {"login", "logout"} else None,
        **money,
    )


def records_of_facts(events: Sequence[VisitorEvent]) -> list[Sent]:
    arrived_ms = int(NOON.timestamp() * 1000)
    return [
        Sent(
            b"key",
            encode_fact(event),
            [
                *to_headers(TransportIdentity("", 1, "shardId-0", f"{n:056d}", 0, "key", arrived_ms)),
                (RAW_AT, b"0"),
            ],
            n,
        )
        for n, event in enumerate(events)
    ]


@pytest.mark.real
@pytest.mark.parametrize("seed", range(3))
def test_stored_sessions_are_what_a_query_over_the_stored_facts_gives(database: str, seed: int) -> None:
    """Shuffled and repeated, in batches of any size; and what was sent reaches the sink once more, mixed."""
    upgrade(database)
    store = open_database(database, retry_seconds=30)
    draw = random.Random(seed)
    events = random_events(seed, 600)
    arrived = [*events, *draw.sample(events, 100)]
    draw.shuffle(arrived)
    stage, state, sent, start = SessionsStage(GAP, None), State(), [], 0
    for batch in cut(arrived, [draw.randrange(len(arrived)) for _ in range(12)]):
        result = run(stage, state, batch, start)
        start += len(batch)
        sent += [
            output for step in result.steps() for output in step.outputs if output.topic == SILVER_SESSIONS
        ]
    again = draw.sample(sent, len(sent) // 2)
    records = [Sent(o.key, o.value, o.headers, n) for n, o in enumerate([*sent, *again])]
    assert not SINKS[CLEAN_EVENTS](store, placed(records_of_facts(arrived), 0))
    for begin in range(0, len(records), 50):
        assert not SINKS[SILVER_SESSIONS](store, placed(records[begin : begin + 50], 0))
    store.close()
    with psycopg.connect(database) as connection:
        wanted = connection.execute(REFERENCE.encode())
        assert wanted.description is not None
        columns = ", ".join(column.name for column in wanted.description)
        rows = wanted.fetchall()
        stored = connection.execute(f"SELECT {columns} FROM silver.silver_sessions".encode()).fetchall()
    assert len(rows) > 100
    assert sorted(stored, key=repr) == sorted(rows, key=repr)
