"""Shards of a stream and their order: a parent is read to its end before its children begin."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

TRIM_HORIZON: Final = "TRIM_HORIZON"
SHARD_END: Final = "SHARD_END"


class Shard(NamedTuple):
    """A shard, with the range of hashed partition keys that it takes."""

    shard_id: str
    parents: tuple[str, ...]
    starting_hash_key: str
    ending_hash_key: str


def to_shard(listed: Mapping[str, Any]) -> Shard:
    """Read a shard as Kinesis lists it."""
    parents = (listed.get("ParentShardId"), listed.get("AdjacentParentShardId"))
    keys = listed["HashKeyRange"]
    return Shard(
        listed["ShardId"],
        tuple(parent for parent in parents if parent),
        keys["StartingHashKey"],
        keys["EndingHashKey"],
    )


def list_shards(kinesis: Any, stream: str) -> list[Shard]:
    """Give all shards of a stream that Kinesis still knows, closed ones included."""
    answer = kinesis.list_shards(StreamName=stream)
    listed = list(answer["Shards"])
    while token := answer.get("NextToken"):
        answer = kinesis.list_shards(NextToken=token)
        listed += answer["Shards"]
    return [to_shard(shard) for shard in listed]


def oldest_shards(shards: Iterable[Shard]) -> list[Shard]:
    """Give those whose parents Kinesis no longer knows."""
    shards = list(shards)
    known = {shard.shard_id for shard in shards}
    return [shard for shard in shards if not known.intersection(shard.parents)]


def readable_shards(shards: Iterable[Shard], checkpoints: Mapping[str, str]) -> list[Shard]:
    """Give those that are to be read now: not at their end, and all their parents are.

    Args:
        shards: all shards that Kinesis knows.
        checkpoints: the checkpoint of each shard that has one.
    """
    shards = list(shards)
    known = {shard.shard_id for shard in shards}

    def ended(shard_id: str) -> bool:
        return checkpoints.get(shard_id) == SHARD_END

    return [
        shard
        for shard in shards
        if not ended(shard.shard_id) and all(ended(parent) for parent in shard.parents if parent in known)
    ]
