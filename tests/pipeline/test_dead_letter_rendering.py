import json

from dead_letter_examples import EVENT_ID, NOON, a_letter, viewed
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dead_letters.patching import correct, read_patch
from pipeline.dead_letters.rendering import MOST_LINES, Line, payload_lines
from pipeline.dead_letters.show import Shown, advice, as_text, as_values, correction_of


def error(path: str, message: str = "wrong") -> dict[str, str]:
    return {"path": path, "message": message}


def marked(lines: list[Line]) -> dict[str, str]:
    return {line.text.strip(): line.error for line in lines if line.error}


def test_errors_stand_where_they_are() -> None:
    payload = b'{"amount": 10.10, "items": [{"quantity": 1}, {"quantity": 0}], "context": {"ip": 3}}'
    lines = payload_lines(
        payload, [error("$.items[1].quantity"), error("$.context.ip", "a string is wanted")]
    )
    assert marked(lines) == {'"quantity": 0': "wrong", '"ip": 3': "a string is wanted"}
    assert '  "amount": 10.10' in [line.text for line in lines]


def test_what_is_missing_stands_in_the_object_it_is_missing_from() -> None:
    lines = payload_lines(b'{"items": [{"a": 1}]}', [error("$.order_id"), error("$.items[0].quantity")])
    assert marked(lines) == {"[order_id]": "wrong", "[quantity]": "wrong"}
    texts = [line.text for line in lines]
    assert texts.index("      [quantity]") < texts.index("    }")


def test_errors_of_one_place_stand_together_and_those_of_no_place_come_first() -> None:
    errors = [error("$.a", "one"), error("$.a", "two"), error("$.b.c.d", "three")]
    lines = payload_lines(b'{"a": 1}', errors)
    assert lines[0].error == "$.b.c.d: three"
    assert marked(lines)['"a": 1'] == "one; two"


def test_what_is_no_json_is_shown_with_its_odd_bytes_spelled_out() -> None:
    lines = payload_lines(b'{"a": "\xff\x1b[2J\n', [error("$", "byte 7 is not UTF-8")])
    assert lines == [Line('{"a": "\\xff\\x1b[2J', "byte 7 is not UTF-8"), Line("")]


def test_no_terminal_is_given_orders() -> None:
    lines = payload_lines(json.dumps({"a": "\x1b[31m\u202e\n"}).encode(), [])
    assert all(line.text.isprintable() for line in lines)


def test_a_payload_that_is_kept_nowhere_is_said_so() -> None:
    assert payload_lines(None, [error("$", "gone")]) == [Line("(no payload is kept)", "gone")]


def test_long_payloads_are_cut_but_not_their_errors() -> None:
    payload = json.dumps({"items": list(range(5000)), "text": "x" * 5000, "last": 1}).encode()
    lines = payload_lines(payload, [error("$.items[4000]"), error("$.last")])
    assert MOST_LINES < len(lines) < MOST_LINES + 5
    assert marked(lines) == {"4000": "wrong", '"last": 1': "wrong"}
    assert max(len(line.text) for line in payload_lines(b'{"text": "%s"}' % (b"x" * 5000), [])) < 250


@given(
    st.binary(max_size=60),
    st.lists(st.builds(error, st.text(max_size=9).map(lambda t: f"$.{t}")), max_size=3),
)
def test_every_payload_can_be_shown_and_no_error_is_left_out(
    payload: bytes, errors: list[dict[str, str]]
) -> None:
    lines = payload_lines(payload, errors)
    assert lines
    assert any(line.error for line in lines) == bool(errors)


def test_a_letter_is_told_with_its_payload_and_the_command_that_replays_it() -> None:
    letter = a_letter()
    told = as_text(Shown(letter, letter.payload, NOON, ()))
    assert str(letter.identity) in told
    assert "[anonymous_id]   ← this or customer_id is required" in told
    assert f"pipeline dead-letters replay {letter.identity} --patch" in told
    assert '{"op": "add", "path": "/anonymous_id"' in told


def test_a_correction_is_told_as_a_patch_that_can_be_given_again() -> None:
    letter = a_letter(status="replayed", replayed_payload=viewed(anonymous_id="v-9"))
    told = as_text(Shown(letter, letter.payload, NOON, (("silver_product_events", letter.identity, NOON),)))
    assert f"pipeline trace {EVENT_ID}" in told
    assert "silver_product_events, loaded 2026-03-01" in told
    patch = correction_of(letter.payload, letter.replayed_payload or b"")
    assert patch in told
    assert json.loads(correct(letter.payload or b"", read_patch(patch))) == json.loads(
        viewed(anonymous_id="v-9")
    )


def test_errors_of_a_correction_are_shown_in_the_correction() -> None:
    letter = a_letter(replayed_payload=viewed(anonymous_id=""), attempt=1, errors=[error("$.anonymous_id")])
    told = as_text(Shown(letter, letter.payload, NOON, ()))
    assert '"anonymous_id": ""   ← wrong' in told


def test_errors_are_not_shown_in_a_correction_that_was_sent_after_them() -> None:
    errors = [{"path": "$.anonymous_id", "message": "wrong"}]
    came = viewed(anonymous_id="")
    letter = a_letter(payload=came, replayed_payload=viewed(), attempt=1, errors=errors, status="replayed")
    told = as_text(Shown(letter, letter.payload, NOON, ()))
    assert '"anonymous_id": ""   ← wrong' in told
    assert '"v-1"   ←' not in told
    assert "failed 2 times" in told


def test_advice_is_by_reason() -> None:
    conflict = advice(a_letter(reason="conflicting_event_id"), None)
    assert "--new-event-id" in conflict[1]
    assert "count it twice until a rebuild" in conflict[2]
    assert "--patch" not in advice(a_letter(reason="unknown_currency"), None)[1]
    assert "discard" in advice(a_letter(stream="silver.sessions"), None)[-1]


def test_bytes_that_are_no_text_are_given_in_base64() -> None:
    values = as_values(Shown(a_letter(payload=b"\xff"), b"\xff", None, ()))
    assert (values["payload"], values["payload_base64"]) == (None, "/w==")
