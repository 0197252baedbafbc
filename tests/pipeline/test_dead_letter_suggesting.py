"""The patch that is suggested for a dead letter, to be filled in."""

import json

import pytest
from dead_letter_examples import a_letter, viewed

from pipeline.dead_letters.letters import Letter
from pipeline.dead_letters.patching import PatchError, correct, read_patch
from pipeline.dead_letters.suggesting import patch_for, pointer_of

ITEM = {"product_id": "p-1", "category": "books", "quantity": "2", "unit_price": "x"}
PURCHASE = json.dumps({"event_type": "purchase", "amount": "x", "items": [ITEM, 7]}).encode()


def of(*paths: str, payload: bytes = PURCHASE, **changes: object) -> Letter:
    errors = [{"path": path, "message": "wrong"} for path in paths]
    values = {"event_type": "purchase", "reason": "wrong_type", "errors": errors, "payload": payload}
    return a_letter(**{**values, **changes})


def suggested(letter: Letter) -> str:
    return patch_for(letter, letter.payload)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.items[0].quantity", "…"),
        ("$.items[0].unit_price", "…"),
        ("$.amount", "…"),
        ("$.items", "[…]"),
        ("$.items[1]", "{…}"),
        ("$.context", "{…}"),
        ("$.context.country", '"…"'),
        ("$.event_id", '"…"'),
        ("$.event_type", '"…"'),
        ("$.occurred_at", '"…"'),
        ("$.order_id", '"…"'),
        ("$.of_nobody", "…"),
    ],
)
def test_a_value_stands_in_quotes_only_if_a_text_is_wanted(path: str, value: str) -> None:
    assert suggested(of(path)).endswith(f', "path": "{pointer_of(path)}", "value": {value}}}]')


def test_a_type_that_is_none_has_the_fields_of_all_events() -> None:
    assert '"value": "…"' in suggested(of("$.event_id", event_type="nonsense"))
    assert '"value": …' in suggested(of("$.quantity", event_type=None))


def test_what_is_there_is_replaced_and_what_is_missing_added_whatever_the_reason() -> None:
    letter = of("$.order_id", "$.items[1]", "$.items[1]", reason="missing_field")
    assert suggested(letter) == (
        '[{"op": "add", "path": "/order_id", "value": "…"}, '
        '{"op": "replace", "path": "/items/1", "value": {…}}]'
    )


def test_a_path_is_spelled_as_a_json_pointer() -> None:
    assert pointer_of("$.items[0].quantity") == "/items/0/quantity"
    assert pointer_of("$.a/b~c") == "/a~1b~0c"
    assert pointer_of("$") == ""


def test_what_is_no_json_can_only_be_replaced_whole() -> None:
    whole = suggested(of("$", payload=b"{", reason="not_json"))
    assert json.loads(whole.replace("{…}", "{}")) == [{"op": "replace", "path": "", "value": {}}]


def test_a_correction_that_failed_too_is_part_of_the_next_since_patches_are_applied_to_what_came() -> None:
    letter = of(
        "$.anonymous_id",
        payload=viewed(anonymous_id=None, occurred_at="noon"),
        replayed_payload=viewed(anonymous_id=""),
        attempt=1,
        event_type="page_viewed",
    )
    patch = read_patch(suggested(letter).replace("…", "v-7"))
    assert json.loads(correct(letter.payload or b"", patch)) == json.loads(viewed(anonymous_id="v-7"))


@pytest.mark.parametrize("path", ["$.amount", "$.order_id", "$.items", "$"])
def test_a_suggestion_that_is_not_filled_in_is_refused_with_what_to_do(path: str) -> None:
    with pytest.raises(PatchError, match="put a value in the place of each …"):
        read_patch(suggested(of(path)))
