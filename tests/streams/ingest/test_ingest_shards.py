from streams.ingest.shards import SHARD_END, Shard, oldest_shards, readable_shards, to_shard


def shard(name: str, *parents: str) -> Shard:
    return Shard(name, parents, "0", "1")


SPLIT = [shard("a"), shard("b", "a"), shard("c", "a"), shard("d", "b", "c"), shard("e")]


def readable(checkpoints: dict[str, str]) -> list[str]:
    return [s.shard_id for s in readable_shards(SPLIT, checkpoints)]


def test_children_wait_for_their_parents_end() -> None:
    assert readable({}) == ["a", "e"]
    assert readable({"a": "1234", "e": "TRIM_HORIZON"}) == ["a", "e"]
    assert readable({"a": SHARD_END}) == ["b", "c", "e"]


def test_a_merged_shard_waits_for_both_parents() -> None:
    assert "d" not in readable({"a": SHARD_END, "b": SHARD_END})
    assert readable({"a": SHARD_END, "b": SHARD_END, "c": SHARD_END}) == ["d", "e"]


def test_a_parent_that_kinesis_has_forgotten_is_not_waited_for() -> None:
    assert [s.shard_id for s in readable_shards([shard("d", "b", "c")], {"b": "12"})] == ["d"]


def test_the_oldest_have_no_known_parent() -> None:
    assert [s.shard_id for s in oldest_shards(SPLIT)] == ["a", "e"]
    assert [s.shard_id for s in oldest_shards([shard("d", "b", "c")])] == ["d"]


def test_a_merged_shard_has_two_parents() -> None:
    listed = {
        "ShardId": "d",
        "ParentShardId": "b",
        "AdjacentParentShardId": "c",
        "HashKeyRange": {"StartingHashKey": "3", "EndingHashKey": "9"},
    }
    assert to_shard(listed) == Shard("d", ("b", "c"), "3", "9")
