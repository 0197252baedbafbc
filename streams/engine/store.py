"""Local stores (RocksDB), many small ones in one process, within one bound of memory."""

from pathlib import Path
from typing import Final

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBufferManager,
)

from streams.engine.recent import RecentMemory

DEFAULT_MEMORY_BYTES: Final = 128 * 1024 * 1024
BLOOM_BITS_PER_KEY: Final = 10
WRITTEN_BLOOM_SHARE: Final = 0.1
"""Of a buffer of writes, for the filter of its keys."""


class StoreMemory:
    """What all stores of a process may hold in memory together, however many there are and however full.

    Blocks that were read, their indexes and what was written and is not on disk yet share one half. The
    other is for single values that were used last: they take more memory there, and are found ten times
    as fast.

    Args:
        limit_bytes: of all together.
    """

    def __init__(self, limit_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self.recent = RecentMemory(limit_bytes // 2)
        cache_bytes = limit_bytes - limit_bytes // 2
        self.cache = Cache(cache_bytes)
        self.writes = WriteBufferManager.new_write_buffer_manager_with_cache(
            cache_bytes // 3, allow_stall=False, cache=self.cache
        )

    @property
    def used_bytes(self) -> int:
        """What is held now."""
        return self.cache.get_usage()


def open_store(path: Path, memory: StoreMemory) -> Rdict:
    """Open a store of raw bytes, made when it is not there."""
    path.mkdir(parents=True, exist_ok=True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_manager(memory.writes)
    options.set_write_buffer_size(4 * 1024 * 1024)
    # Memory is taken in such pieces; the default, an eighth of the buffer, is much for a small store.
    options.set_arena_block_size(64 * 1024)
    options.set_max_write_buffer_number(2)
    options.set_max_background_jobs(2)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(1)
    options.set_max_log_file_size(1024 * 1024)
    # Most keys that are asked for were written some time ago: not to be sought in what is not on disk yet.
    options.set_memtable_prefix_bloom_ratio(WRITTEN_BLOOM_SHARE)
    options.set_memtable_whole_key_filtering(True)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    blocks.set_cache_index_and_filter_blocks(True)
    # In pieces: the index or filter of a file in one piece can be larger than a shard of the cache (a 64th of
    # it), is then not kept, and is read again with each key (measured: 220 µs instead of 17).
    blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
    blocks.set_partition_filters(True)
    blocks.set_pin_top_level_index_and_filter(True)
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    options.set_block_based_table_factory(blocks)
    return Rdict(str(path), options)
