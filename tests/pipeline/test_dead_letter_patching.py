from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dead_letters.patching import (
    PatchError,
    UnfitError,
    correct,
    decode_exact,
    merge_patch,
    read_patch,
)

# The examples of RFC 7396, appendix A.
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize("empty", ["[]", "{}", " [ ] "])
def test_a_patch_without_anything_in_it_is_said_to_be_empty(empty: str) -> None:
    with pytest.raises(PatchError, match=r"^the patch is empty$"):
        read_patch(empty)


@pytest.mark.parametrize("text", ['\ufeff{"a": 1}', b'\xef\xbb\xbf[{"op": "add", "path": "/a", "value": 1}]'])
def test_a_patch_may_have_a_byte_order_mark(text: str | bytes) -> None:
    assert read_patch(text).apply({}) == {"a": 1}


@pytest.mark.parametrize(("target", "patch", "merged"), MERGES)
def test_a_merge_patch_does_what_its_standard_says(target: object, patch: object, merged: object) -> None:
    assert merge_patch(target, patch) == merged


def test_an_array_is_a_json_patch_and_an_object_a_merge_patch() -> None:
    operations = read_patch('[{"op": "replace", "path": "/a", "value": 2}, {"op": "remove", "path": "/b"}]')
    assert correct(b'{"a": 1, "b": 1}', operations) == b'{"a":2}'
    assert correct(b'{"a": 1, "b": 1}', read_patch('{"a": 2, "b": null}')) == b'{"a":2}'


@pytest.mark.parametrize(
    "text",
    ["", "{", "1", '"x"', "[]", "{}", '[{"op": "fly", "path": "/a"}]', '[{"op": "add"}]', "[1]", b"\xff"],
)
def test_what_is_no_patch_is_refused(text: str | bytes) -> None:
    with pytest.raises(PatchError):
        read_patch(text)


@pytest.mark.parametrize(
    ("payload", "patch"),
    [
        (b"{", '{"a": 1}'),
        (b"\xff", '[{"op": "add", "path": "/a", "value": 1}]'),
        (b"{}", '[{"op": "remove", "path": "/a"}]'),
        (b"{}", '[{"op": "replace", "path": "/a/0", "value": 1}]'),
        (b'{"a": 1}', '[{"op": "add", "path": "/a/b/c", "value": 1}]'),
        (b'{"a": [1]}', '[{"op": "replace", "path": "/a/7", "value": 1}]'),
        (b'{"a": [1]}', '[{"op": "replace", "path": "/a/x", "value": 1}]'),
        (b'{"a": 1}', '[{"op": "test", "path": "/a", "value": 2}]'),
        (b"[1]", '[{"op": "add", "path": "/0", "value": 1}]'),
        (b"null", '[{"op": "add", "path": "/0", "value": 1}]'),
        (b"3", '[{"op": "add", "path": "/0", "value": 1}]'),
        (b'{"a": 1}', '{"a": 1}'),
        (b'{"a": 1}', '[{"op": "replace", "path": "", "value": 4}]'),
    ],
)
def test_a_patch_that_does_not_fit_is_said_so(payload: bytes, patch: str) -> None:
    with pytest.raises(UnfitError) as raised:
        correct(payload, read_patch(patch))
    assert str(raised.value)


def test_a_patch_that_first_replaces_the_whole_also_corrects_what_is_no_json() -> None:
    patch = read_patch(
        '[{"op": "replace", "path": "", "value": {"a": 1}}, {"op": "add", "path": "/b", "value": 2}]'
    )
    assert correct(b"\xff", patch) == b'{"a":1,"b":2}'


def test_an_event_id_can_be_given_without_a_patch() -> None:
    assert correct(b'{"event_id": "x", "b": 1}', None, event_id="y") == b'{"event_id":"y","b":1}'
    with pytest.raises(UnfitError):
        correct(b"[]", None, event_id="y")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6), st.integers())
def test_numbers_keep_every_digit(amount: Decimal, number: int) -> None:
    payload = f'{{"amount": {amount:f}, "number": {number}, "odd": 1}}'.encode()
    corrected = correct(payload, read_patch('{"odd": 12345678901234567.10}'))
    found = decode_exact(corrected)
    assert found == {"amount": amount, "number": number, "odd": Decimal("12345678901234567.10")}
    assert b"12345678901234567.10" in corrected
