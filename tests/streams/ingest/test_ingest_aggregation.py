import hashlib

from aggregated import pack
from hypothesis import given
from hypothesis import strategies as st

from streams.ingest.aggregation import MAGIC, Packed, unpack


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.binary(max_size=300)), max_size=20))
def test_what_was_packed_is_unpacked_in_order(records: list[tuple[str, bytes]]) -> None:
    assert unpack(pack(records)) == [Packed(key, data) for key, data in records]


@given(st.binary(max_size=100))
def test_other_bytes_are_no_aggregated_record(data: bytes) -> None:
    assert unpack(data) is None
    assert unpack(MAGIC + data) is None


def test_a_broken_digest_makes_it_an_ordinary_record() -> None:
    packed = bytearray(pack([("k", b"v")]))
    packed[-1] ^= 1
    assert unpack(bytes(packed)) is None


@given(st.binary(max_size=60))
def test_nonsense_with_a_right_digest_does_not_raise(message: bytes) -> None:
    unpack(MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest())
