"""Identity and time: which spellings of a UUID and of an instant are read, and as what."""

from datetime import UTC, datetime, timedelta

import pytest
from event_examples import EVENT_ID, NOON, accepted, example, named, refused

from processors.clean.facts import content_hash
from streams.dead_letters import Reason

FUTURE = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize("spelling", [EVENT_ID, EVENT_ID.upper(), EVENT_ID.replace("-", "")])
def test_an_id_is_one_uuid_in_upper_case_and_without_dashes_too(spelling: str) -> None:
    assert str(accepted(example("logout", event_id=spelling)).event_id) == EVENT_ID


@pytest.mark.parametrize(
    "spelling",
    [
        f"{{{EVENT_ID}}}",
        f"urn:uuid:{EVENT_ID}",
        f" {EVENT_ID}",
        f"{EVENT_ID}\n",
        EVENT_ID[:-1],
        EVENT_ID.replace("-", "_"),
        EVENT_ID.replace("-", "", 1),
        EVENT_ID.replace("0", "\u0660"),  # an Arabic nought
        EVENT_ID.replace("a", "\u0430"),  # a Cyrillic one
        "",
    ],
)
def test_no_other_spelling_of_an_id_is_read(spelling: str) -> None:
    found = refused(example("logout", event_id=spelling))
    assert named(found) == (Reason.INVALID_VALUE, ["$.event_id"])


@pytest.mark.parametrize(
    ("spelling", "instant"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01t12:00:00z", NOON),
        ("2026-03-01 12:00:00Z", NOON),
        ("2026-03-01T12:00:00-00:00", NOON),
        ("2026-03-01T13:00:00+01:00", NOON),
        ("2026-03-01T13:00:00+0100", NOON),
        ("2026-03-02T02:00:00+14:00", NOON),
        ("2026-02-28T12:01:00-23:59", NOON),
        ("2026-03-01T12:00:00.123Z", NOON + timedelta(milliseconds=123)),
        ("2026-03-01T12:00:00.123456789Z", NOON + timedelta(microseconds=123457)),
        ("2026-03-01T12:00:00.9999999Z", NOON + timedelta(seconds=1)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_to_the_microsecond_and_kept_in_utc(spelling: str, instant: datetime) -> None:
    event = accepted(example("logout", occurred_at=spelling))
    assert event.occurred_at == instant
    assert event.occurred_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-03-01T12:00:00",  # no offset
        "2026-03-01",
        "2026-03-01T12:00Z",
        "20260301T120000Z",
        "2026-03-01T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-03-01T12:60:00Z",
        "2026-03-01T12:00:00-99:99",
        "2026-03-01T12:00:00+24:00",
        "2026-03-01T12:00:00+01",
        "2026-03-01T12:00:00 Z",
        "2026-03-01_12:00:00Z",
        "٢٠٢٦-03-01T12:00:00Z",
        "12026-03-01T12:00:00Z",
        "-001-03-01T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.9999999Z",
        "1772366400",
        "Sun, 01 Mar 2026 12:00:00 GMT",
        "yesterday",
        "",
    ],
)
def test_what_is_no_instant_of_rfc_3339_with_an_offset_is_refused(spelling: str) -> None:
    found = refused(example("logout", occurred_at=spelling))
    assert named(found) == (Reason.INVALID_TIMESTAMP, ["$.occurred_at"])
    assert "RFC 3339" in found.errors[0].message


def test_a_number_is_no_instant() -> None:
    found = refused(example("logout", occurred_at=1_772_366_400))
    assert named(found) == (Reason.WRONG_TYPE, ["$.occurred_at"])


def test_a_leap_second_is_refused_in_so_many_words() -> None:
    found = refused(example("logout", occurred_at="2016-12-31T23:59:60Z"))
    assert "leap second" in found.errors[0].message


@pytest.mark.parametrize(
    "spelling",
    [
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00+00:01",
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00Z",
    ],
)
def test_an_event_before_1970_is_refused(spelling: str) -> None:
    found = refused(example("logout", occurred_at=spelling))
    assert named(found) == (Reason.INVALID_TIMESTAMP, ["$.occurred_at"])


@pytest.mark.parametrize(
    "spelling", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "2026-03-02T12:00:00.001Z"]
)
def test_an_event_over_a_day_ahead_of_its_arrival_is_refused(spelling: str) -> None:
    found = refused(example("logout", occurred_at=spelling))
    assert named(found) == (Reason.FUTURE_TIMESTAMP, ["$.occurred_at"])


def test_an_event_exactly_one_day_ahead_is_accepted() -> None:
    accepted(example("logout", occurred_at="2026-03-02T12:00:00Z"))


def test_an_instant_that_utc_cannot_hold_is_refused_whenever_it_arrives() -> None:
    found = refused(example("logout", occurred_at="9999-12-31T23:59:59-01:00"), arrived_at=FUTURE)
    assert named(found) == (Reason.INVALID_TIMESTAMP, ["$.occurred_at"])
    money = refused(example("refund", occurred_at="9999-12-31T23:59:59-01:00"), arrived_at=FUTURE)
    assert named(money) == (Reason.INVALID_TIMESTAMP, ["$.occurred_at"])


def test_equal_contents_in_other_spellings_have_one_hash() -> None:
    plain = example("purchase", amount="19.90", discount=0)
    spellings = [
        plain,
        dict(reversed(plain.items())),
        {**plain, "unknown": 1},
        {**plain, "event_id": EVENT_ID.upper()},
        {**plain, "occurred_at": "2026-03-01T13:00:00+01:00"},
        {**plain, "amount": 19.9, "discount": "0.000"},
        {**plain, "amount": "1.99e1", "context": None},
    ]
    assert len({content_hash(accepted(each)) for each in spellings}) == 1
    assert content_hash(accepted({**plain, "amount": "19.91"})) != content_hash(accepted(plain))
