"""Headers that another program wrote cannot stop what reads them."""

import pytest

from streams.transport import TransportIdentity, from_headers, to_headers

IDENTITY = TransportIdentity("product-events", 1, "shardId-0", "42", 0, "key", 1_772_323_200_000)
STREAM = IDENTITY.stream


def headers(**changed: bytes) -> list[tuple[str, bytes]]:
    plain = {
        name: value.encode() if isinstance(value, str) else value or b""
        for name, value in to_headers(IDENTITY)
    }
    return list((plain | changed).items())


def test_headers_give_the_identity_they_were_made_from() -> None:
    assert from_headers(STREAM, headers()) == IDENTITY


@pytest.mark.parametrize("name", ["kinesis_shard", "kinesis_sequence", "kinesis_partition_key"])
def test_a_header_with_a_nul_character_which_no_table_can_hold_is_none_of_ours(name: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        from_headers(STREAM, headers(**{name: b"a\0b"}))
