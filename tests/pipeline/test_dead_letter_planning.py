import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dead_letter_examples import EPOCH_MS, EVENT_ID, NOON, OTHER_ID, a_letter, viewed
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dead_letters.letters import Identity, Letter, event_id_of
from pipeline.dead_letters.patching import read_patch
from pipeline.dead_letters.planning import Planned, Planner, Refused
from streams.events import MAX_EVENT_BYTES
from streams.ingest.messages import KinesisRecord, Source, to_messages
from streams.transport import from_headers

NAMED = read_patch('{"anonymous_id": "v-2"}')


def planned(letter: Letter, planner: Planner | None = None) -> Planned:
    plan = (planner or Planner()).plan(letter, letter.payload)
    assert isinstance(plan, Planned), plan
    return plan


def refusal(letter: Letter, planner: Planner | None = None) -> str:
    plan = (planner or Planner()).plan(letter, letter.payload)
    assert isinstance(plan, Refused), plan
    return plan.why


def test_an_identity_is_written_and_read_the_same() -> None:
    identity = a_letter().identity
    assert Identity.parse(str(identity)) == identity
    for wrong in (
        "",
        "a/b",
        "a/b/c/d/e",
        "a/1/c/d/e",
        "a/1//d/0",
        f"{identity}/1",
        "a/1_0/c/d/0",
        f"a/{10**30}/c/d/0",
    ):
        with pytest.raises(ValueError, match="is no STREAM/EPOCH/SHARD/SEQUENCE/SUB"):
            Identity.parse(wrong)


def test_a_record_is_sent_as_the_ingest_sent_it_but_with_the_next_attempt() -> None:
    payload = viewed(customer_id="c-7")
    source = Source("product-events", EPOCH_MS, "shardId-0")
    (first,) = to_messages(source, [KinesisRecord("1", 0, "key", int(NOON.timestamp() * 1000), payload)])
    again = planned(a_letter(payload=payload)).to_message()
    assert (again.topic, again.key, again.value) == (first.topic, first.key, first.value)
    assert dict(again.headers) == {**dict(first.headers), "attempt": b"1"}


@given(st.integers(0, 4_000_000_000_000))
def test_the_arrival_keeps_its_millisecond(ms: int) -> None:
    at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
    message = planned(a_letter(arrived_at=at, attempt=4)).to_message()
    transport = from_headers("product-events", message.headers)  # type: ignore[arg-type]  # bytes, all
    assert (transport.attempt, transport.partition_key) == (5, "key")
    assert transport.arrived_at_ms == ms


def test_a_corrected_record_goes_where_its_corrected_key_belongs_and_is_kept() -> None:
    plan = planned(a_letter(), Planner(NAMED))
    assert plan.to_message().key == b"v-2"
    assert plan.correction == plan.payload
    assert b'"v-2"' in plan.payload


def test_what_is_sent_as_it_came_is_no_correction() -> None:
    plan = planned(a_letter())
    assert (plan.payload, plan.correction) == (viewed(anonymous_id=None), None)


def test_without_a_patch_the_last_correction_is_sent_again_unless_it_is_to_be_forgotten() -> None:
    letter = a_letter(replayed_payload=viewed(), attempt=1)
    assert planned(letter).payload == planned(letter).correction == viewed()
    assert planned(letter, Planner(as_it_came=True)).correction is None
    assert planned(letter, Planner(as_it_came=True)).payload == letter.payload


def test_a_patch_is_applied_to_what_came_so_twice_is_once() -> None:
    patch = read_patch('[{"op": "remove", "path": "/occurred_at"}]')
    first = planned(a_letter(), Planner(patch))
    again = planned(a_letter(replayed_payload=first.payload), Planner(patch))
    assert again.payload == first.payload


def test_a_letter_without_payload_is_sent_from_bronze_or_refused() -> None:
    letter = a_letter(payload=None)
    assert isinstance(Planner().plan(letter, viewed()), Planned)
    assert "neither here nor in bronze" in refusal(letter)


@pytest.mark.parametrize("topic", ["silver.customers", "clean.events", "dead-letters"])
def test_a_record_of_a_later_topic_has_nowhere_to_go(topic: str) -> None:
    why = refusal(a_letter(stream=topic, reason="refused_by_sink", stage="sink"))
    assert topic in why
    assert "rebuild" in why


def test_a_record_of_our_streams_that_a_sink_refused_may_try_again() -> None:
    assert planned(a_letter(reason="refused_by_sink", stage="sink"))


@pytest.mark.parametrize("came_as", [EVENT_ID, EVENT_ID.upper()])
def test_a_conflict_wants_another_event_id(came_as: str) -> None:
    letter = a_letter(reason="conflicting_event_id", stage="sink", payload=viewed(event_id=came_as))
    assert "--new-event-id" in refusal(letter)
    assert "--new-event-id" in refusal(letter, Planner(NAMED))
    assert planned(letter, Planner(read_patch(f'{{"event_id": "{OTHER_ID}"}}')))
    plan = planned(letter, Planner(new_event_ids=True))
    assert event_id_of(plan.payload) not in (None, EVENT_ID)


def test_a_conflict_of_a_correction_is_about_the_corrected_id() -> None:
    letter = a_letter(
        reason="conflicting_event_id",
        event_id=OTHER_ID,
        payload=viewed(),
        replayed_payload=viewed(event_id=OTHER_ID),
        attempt=1,
    )
    assert OTHER_ID in refusal(letter)


NEW_IDS = Planner(new_event_ids=True)
BOUGHT = {
    "event_id": EVENT_ID,
    "event_type": "purchase",
    "occurred_at": "2026-03-01T11:50:00Z",
    "customer_id": "c-1",
    "order_id": "o-1",
    "amount": "12.5",
    "currency": "USD",
    "payment_method": "card",
    "items": [{"product_id": "p-1", "category": "books", "quantity": 1, "unit_price": 12.5}],
}


def new_id(came: bytes, planner: Planner = NEW_IDS, **changes: Any) -> str:
    plan = planned(a_letter(payload=came, reason="conflicting_event_id", **changes), planner)
    event_id = event_id_of(plan.payload)
    assert event_id is not None
    return event_id


def purchase(**changes: Any) -> bytes:
    return json.dumps({**BOUGHT, **changes}).encode()


def new_id_of_purchase(came: bytes, planner: Planner = NEW_IDS) -> str:
    return new_id(came, planner, stream="transaction-events")


def test_an_event_that_was_sent_twice_gets_one_new_event_id() -> None:
    assert new_id(viewed(), sequence_number="1") == new_id(viewed(), sequence_number="2")
    planner = Planner(new_event_ids=True)
    assert new_id(viewed(), planner) == new_id(viewed(), planner, sequence_number="2")


@pytest.mark.parametrize(
    "spelling",
    [
        {"amount": "12.5000"},
        {"occurred_at": "2026-03-01T12:50:00+01:00"},
        {"event_id": EVENT_ID.upper().replace("-", "")},
        {"unknown": 1},
        {"coupon": None},
    ],
)
def test_another_spelling_of_an_event_gets_the_same_new_event_id(spelling: dict[str, Any]) -> None:
    assert new_id_of_purchase(purchase(**spelling)) == new_id_of_purchase(purchase())
    assert new_id_of_purchase(json.dumps(BOUGHT, indent=1, sort_keys=True).encode()) == new_id_of_purchase(
        purchase()
    )


@pytest.mark.parametrize(
    "change", [{"amount": "12.51"}, {"event_id": OTHER_ID}, {"order_id": "o-2"}, {"event_id": "odd"}]
)
def test_another_content_or_another_id_gets_another_new_event_id(change: dict[str, Any]) -> None:
    assert new_id_of_purchase(purchase(**change)) != new_id_of_purchase(purchase())


def test_a_new_event_id_is_of_what_the_record_says_after_the_correction() -> None:
    in_euro = Planner(read_patch('{"currency": "EUR"}'), new_event_ids=True)
    assert new_id_of_purchase(purchase(currency="XTS"), in_euro) == new_id_of_purchase(
        purchase(currency="EUR")
    )
    to_other_id = Planner(read_patch(json.dumps({"event_id": OTHER_ID})), new_event_ids=True)
    assert new_id_of_purchase(purchase(), to_other_id) == new_id_of_purchase(purchase())


@pytest.mark.parametrize("amount", ["1e999999", "12,5", None, 10**30])
def test_what_cannot_be_decoded_is_told_apart_by_its_bytes(amount: object) -> None:
    broken = purchase(amount=amount)
    assert new_id_of_purchase(broken) == new_id_of_purchase(broken)
    assert new_id_of_purchase(broken) != new_id_of_purchase(purchase(amount=amount, order_id="o-2"))


def test_a_patch_cannot_give_one_event_id_to_two_records() -> None:
    planner = Planner(read_patch(f'{{"event_id": "{OTHER_ID}"}}'))
    first, second = a_letter(), a_letter(sequence_number="2")
    assert planned(first, planner)
    assert planned(first, planner)
    assert str(first.identity) in refusal(second, planner)


def test_two_arrivals_of_one_event_may_both_be_sent() -> None:
    planner = Planner(NAMED)
    assert planned(a_letter(), planner)
    assert planned(a_letter(sequence_number="2"), planner)


def test_what_is_too_large_would_be_refused_again() -> None:
    letter = a_letter(reason="too_large", payload=b" " * (MAX_EVENT_BYTES + 1))
    assert str(MAX_EVENT_BYTES) in refusal(letter)


@pytest.mark.parametrize(
    ("changes", "event_id", "counted"),
    [
        ({"stage": "sink"}, OTHER_ID, True),
        ({"stage": "sink"}, EVENT_ID, False),
        ({"stage": "sink", "event_id": EVENT_ID.upper()}, EVENT_ID, False),
        ({"stage": "clean"}, OTHER_ID, False),
        ({"stage": "sink", "stream": "system-logs"}, OTHER_ID, False),
    ],
)
def test_what_a_sink_refused_may_have_been_counted_under_the_id_that_it_gives_up(
    changes: dict[str, str], event_id: str, *, counted: bool
) -> None:
    plan = planned(a_letter(**changes, payload=viewed(event_id=event_id)))
    assert plan.may_be_counted_before == counted
