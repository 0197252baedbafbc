"""Records that are no JSON, and JSON that is legal but hostile: what each ends as, and in which words."""

import json
import time

import pytest
from event_examples import accepted, example, named, refused, spelled, to_bytes

from processors.clean.json_text import MAX_DEPTH, paths_of_repeated, read_json, too_deep_at
from streams.dead_letters import Reason
from streams.events import MAX_EVENT_BYTES

RIGHT = to_bytes(example("login"))


def with_extra(raw: str) -> bytes:
    """Give a login with one more member in its own spelling."""
    return RIGHT[:-1] + b"," + raw.encode() + b"}"


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (b"\xff{}", Reason.NOT_UTF8, "byte 0 is not UTF-8"),
        (RIGHT.replace(b"c-1", b"caf\xe9"), Reason.NOT_UTF8, f"byte {RIGHT.index(b'c-1') + 3} is not UTF-8"),
        (RIGHT.replace(b"c-1", b"\xed\xa0\x80"), Reason.NOT_UTF8, "is not UTF-8"),  # a surrogate, encoded
        (RIGHT.replace(b"c-1", b"\xc0\x80"), Reason.NOT_UTF8, "is not UTF-8"),  # NUL, overlong
        (RIGHT[:-1] + b',"unknown":"caf\xe9"}', Reason.NOT_UTF8, "is not UTF-8"),
        (RIGHT[:-1] + b',"caf\xe9":1}', Reason.NOT_UTF8, "is not UTF-8"),
        (RIGHT.decode().encode("utf-16"), Reason.NOT_UTF8, "this is UTF-16, send UTF-8"),
        (RIGHT.decode().encode("utf-16-le"), Reason.NOT_JSON, "byte 1 is NUL: send UTF-8, not UTF-16"),
        (RIGHT.decode().encode("utf-32-be"), Reason.NOT_JSON, "byte 0 is NUL"),
        (b"\xef\xbb\xbf" + RIGHT, Reason.NOT_JSON, "byte order mark (byte 0)"),
        (b"", Reason.NOT_JSON, "the record is empty"),
        (b" \n", Reason.NOT_JSON, "the record is empty"),
        (RIGHT[:-1], Reason.NOT_JSON, f"ends in the middle (byte {len(RIGHT) - 1})"),
        (RIGHT[:40], Reason.NOT_JSON, "Unterminated string starting at (byte 13)"),
        (RIGHT + b"{}", Reason.NOT_JSON, f"Extra data (byte {len(RIGHT)})"),
        (RIGHT + b"\0", Reason.NOT_JSON, f"Extra data (byte {len(RIGHT)})"),
        (with_extra('"x":NaN'), Reason.NOT_JSON, f"NaN is no JSON (byte {len(RIGHT) + 4})"),
        (with_extra('"x":-Infinity'), Reason.NOT_JSON, "-Infinity is no JSON (byte"),
        (with_extra('"x":01'), Reason.NOT_JSON, "(byte"),
        (with_extra('"x":+1'), Reason.NOT_JSON, "(byte"),
        (with_extra('"x":1,'), Reason.NOT_JSON, "Expecting property name"),
        (with_extra("'x':1"), Reason.NOT_JSON, "Expecting property name"),
        (with_extra('"x":"a\tb"'), Reason.NOT_JSON, "(byte"),
        (with_extra('"é":"\\x"'), Reason.NOT_JSON, f"Invalid \\escape (byte {len(RIGHT) + 6})"),
        (with_extra('"x":1 // why'), Reason.NOT_JSON, "byte"),
        (b"{}{}", Reason.NOT_JSON, "Extra data (byte 2)"),
        (b"[{}]", Reason.NOT_AN_OBJECT, "this is an array"),
        (b'"text"', Reason.NOT_AN_OBJECT, "this is a string"),
        (b"42", Reason.NOT_AN_OBJECT, "this is 42"),
        (b"null", Reason.NOT_AN_OBJECT, "this is null"),
        (b"true", Reason.NOT_AN_OBJECT, "this is a boolean"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_byte_that_is_wrong(
    value: bytes, reason: Reason, message: str
) -> None:
    found = refused(value, "customer-events")
    assert named(found) == (reason, ["$"])
    assert message in found.errors[0].message


def test_spaces_around_a_record_do_not_matter() -> None:
    accepted(b" \r\n\t" + RIGHT + b" \n", "customer-events")


# sizes


def test_a_record_of_exactly_one_mebibyte_is_taken_and_one_byte_more_is_too_large() -> None:
    room = MAX_EVENT_BYTES - len(to_bytes(example("log", message="")))
    largest = to_bytes(example("log", message="x" * room))
    assert len(largest) == MAX_EVENT_BYTES
    assert len(accepted(largest, "system-logs").message) == room
    assert named(refused(largest + b" ", "system-logs")) == (Reason.TOO_LARGE, ["$"])


def test_hostile_records_of_full_size_take_little_time() -> None:
    items = [{}] * 300_000
    hostile = [
        b"[" * MAX_EVENT_BYTES,
        b'{"a":' * (MAX_EVENT_BYTES // 5),
        b'"' + b"\\" * (MAX_EVENT_BYTES - 1),
        b"[" + b'"' * (MAX_EVENT_BYTES - 1),
        b"{" * 200 + b'"\\' * (MAX_EVENT_BYTES // 2 - 100),
        spelled("refund", "amount", "9" * 1_000_000),
        spelled("refund", "amount", "0." + "9" * 1_000_000),
        spelled("refund", "amount", '"' + "9" * 1_000_000 + '"'),
        spelled("login", "event_version", "9" * 1_000_000),
        to_bytes(example("purchase", items=items)).replace(b" ", b"")[:MAX_EVENT_BYTES],
        to_bytes({str(i): 0 for i in range(80_000)}),
        to_bytes(example("login", customer_id="x" * 1_000_000)),
        b'{"%s":[%s"\\ud800"]}' % (b"n" * 400_000, b"0," * 300_000),
        b'{"event_type":"refund","event_type":7,"%s":[%s{"a":0,"a":0}]}'
        % (b"n" * 400_000, b"[0]," * 150_000),
    ]
    for value in hostile:
        started = time.process_time()
        refused(value[:MAX_EVENT_BYTES], "transaction-events")
        assert time.process_time() - started < 2


# depth


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * levels + "1" + closing * levels


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"a":', "}]")])
def test_unknown_fields_may_be_nested_a_hundred_levels_deep(opening: str, closing: str) -> None:
    step = opening.count("[") + opening.count("{")
    levels = (MAX_DEPTH - 1) // step
    accepted(with_extra(f'"x":{nested(levels, opening, closing)}'), "customer-events")
    found = refused(with_extra(f'"x":{nested(levels + 1 + step // 2, opening, closing)}'), "customer-events")
    assert named(found) == (Reason.INVALID_VALUE, ["$"])
    assert "nested deeper than 100 levels (byte" in found.errors[0].message


def test_many_brackets_are_not_depth() -> None:
    accepted(with_extra(f'"x":[{",".join(["[]"] * 500)}],"y":"{"[" * 500}"'), "customer-events")
    accepted(with_extra('"x":"\\"[[{{' + "[{" * 500 + '"'), "customer-events")


def test_depth_is_counted_to_the_byte() -> None:
    assert too_deep_at(b"[" * MAX_DEPTH) is None
    assert too_deep_at(b'["[",' + b"[" * MAX_DEPTH) == 5 + MAX_DEPTH - 1
    assert too_deep_at(b"[]" * 1000) is None


# numbers


@pytest.mark.parametrize(
    ("event_type", "field", "raw", "reason"),
    [
        ("login", "event_version", "9223372036854775808", Reason.UNKNOWN_VERSION),
        ("login", "event_version", "-9223372036854775808", Reason.UNKNOWN_VERSION),
        ("login", "event_version", "99999999999999999999999", Reason.UNKNOWN_VERSION),
        ("login", "event_version", "1e0", Reason.WRONG_TYPE),
        ("signup", "birth_year", "18446744073709551616", Reason.INVALID_VALUE),
        ("signup", "birth_year", "-1", Reason.INVALID_VALUE),
        ("signup", "birth_year", "9" * 5000, Reason.INVALID_VALUE),
        ("log", "latency_ms", "1e400", Reason.INVALID_VALUE),
        ("log", "latency_ms", "1e999999", Reason.INVALID_VALUE),
        ("log", "latency_ms", "-1e-9", Reason.INVALID_VALUE),
        ("log", "latency_ms", "1.1e12", Reason.INVALID_VALUE),
        ("log", "status_code", "99999999999999999999", Reason.INVALID_VALUE),
    ],
)
def test_a_number_out_of_range_is_an_invalid_value_of_its_field(
    event_type: str, field: str, raw: str, reason: Reason
) -> None:
    stream = "system-logs" if event_type == "log" else "customer-events"
    found = refused(spelled(event_type, field, raw), stream)
    assert named(found) == (reason, [f"$.{field}"])
    assert len(found.errors[0].message) < 200


@pytest.mark.parametrize("raw", ["1e999999", "-1e999999", "9" * 5000, "1e-999999", "0.1e1"])
def test_a_number_out_of_range_in_an_unknown_field_does_not_matter(raw: str) -> None:
    accepted(with_extra(f'"x":{raw}'), "customer-events")


# surrogates


@pytest.mark.parametrize(
    "escape", [r"\ud800", r"\udc00", r"\udc00\ud800", r"a\uDBFF\u0041", r"\ud83d\ud83d\ude00"]
)
def test_half_a_surrogate_pair_is_an_invalid_value_wherever_it_stands(escape: str) -> None:
    found = refused(RIGHT.replace(b"c-1", escape.encode()), "customer-events")
    assert named(found) == (Reason.INVALID_VALUE, ["$.customer_id"])
    assert "half a surrogate pair" in found.errors[0].message
    unknown = refused(with_extra(f'"x":[0,{{"y":"{escape}"}}]'), "customer-events")
    assert named(unknown) == (Reason.INVALID_VALUE, ["$.x[1].y"])
    name = refused(with_extra(f'"x":{{"{escape}":1}}'), "customer-events")
    assert named(name) == (Reason.INVALID_VALUE, ["$.x"])


def test_a_whole_surrogate_pair_is_a_character() -> None:
    value = RIGHT.replace(b"c-1", rb"\ud83d\ude00")
    assert accepted(value, "customer-events").customer_id == "😀"


def test_what_else_is_wrong_is_reported_beside_a_surrogate() -> None:
    value = to_bytes(example("signup", email=7, country="GBR")).replace(b"Ada", rb"\ud800")
    paths = {error.path for error in refused(value, "customer-events").errors}
    assert paths == {"$.email", "$.country", "$.name"}


# names that come twice


def test_of_a_name_given_twice_the_last_counts() -> None:
    event = accepted(with_extra('"customer_id":"c-2"'), "customer-events")
    assert event.customer_id == "c-2"
    assert json.loads(with_extra('"customer_id":"c-2"'))["customer_id"] == "c-2"  # as other parsers have it


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ('"event_type":"logout"', "$.event_type"),
        ('"context":7,"context":{}', "$.context"),
        ('"context":{"ip":7,"ip":"::1"}', "$.context.ip"),
        ('"event_version":"1","event_version":1', "$.event_version"),
    ],
)
def test_each_value_of_a_name_given_twice_must_be_right(raw: str, path: str) -> None:
    found = refused(with_extra(raw), "customer-events")
    assert named(found) == (Reason.INVALID_VALUE, [path])
    assert "more than once" in found.errors[0].message


def test_names_given_twice_are_found_at_any_depth() -> None:
    found = read_json('{"a":1,"b":[{"c":1,"c":2}],"a":{"d":1,"d":2,"d":3}}')
    assert sorted(paths_of_repeated(found)) == ["$.a", "$.a.d", "$.b[0].c"]


def test_a_name_may_be_spelled_with_escapes() -> None:
    value = RIGHT.replace(b'"customer_id"', rb'"customer\u005fid"')
    assert accepted(value, "customer-events").customer_id == "c-1"
