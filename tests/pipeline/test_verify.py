"""What verify says to do about records that were counted before they were refused."""

import pytest

from pipeline.verify import MOST_VISITORS, Refused
from pipeline.visitors import visitor_of


def test_the_remedy_names_the_visitors_as_a_shell_takes_them() -> None:
    refused = Refused(3, ("a", "b c"))
    assert refused.remedy == "pipeline rebuild --visitor=a '--visitor=b c'"


def test_for_many_visitors_the_remedy_is_a_whole_rebuild() -> None:
    many = tuple(str(number) for number in range(MOST_VISITORS + 1))
    assert Refused(len(many), many).remedy == "pipeline rebuild"


@pytest.mark.parametrize(
    ("value", "visitor"),
    [
        (b'{"customer_id": "c", "anonymous_id": "a"}', "c"),
        (b'{"customer_id": null, "anonymous_id": "a"}', "a"),
        (b'{"product_id": "p"}', None),
        (b'{"customer_id": 7}', None),
        (b"\xff", None),
        (b'{"customer_id": "\\ud800"}', None),
        (b"[1]", None),
    ],
)
def test_a_records_visitor_is_its_customer_or_else_its_anonymous_id(
    value: bytes, visitor: str | None
) -> None:
    assert visitor_of(value) == visitor
