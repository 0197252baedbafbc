from threading import Event, Thread

from streams.engine.recent import ENTRY_BYTES, RecentMemory, RecentValues


def test_what_was_used_last_is_kept_and_what_was_not_is_forgotten() -> None:
    values = RecentMemory(20 * (ENTRY_BYTES + 6)).values()
    values.put(b"hot", b"val")
    for number in range(100):
        values.put(b"%03d" % number, b"val")
        assert values.get(b"hot") == b"val"
    assert values.get(b"000") is None
    assert values.get(b"099") == b"val"


def test_a_value_that_was_forgotten_is_gone_from_both_generations() -> None:
    values = RecentMemory(20 * (ENTRY_BYTES + 6)).values()
    values.put(b"key", b"old")
    values.age()
    values.put(b"key", b"new")
    values.forget(b"key")
    assert values.get(b"key") is None


def test_tables_share_one_bound() -> None:
    memory = RecentMemory(20 * (ENTRY_BYTES + 6))
    idle, busy = memory.values(), memory.values()
    idle.put(b"one", b"val")
    for number in range(100):
        busy.put(b"%03d" % number, b"val")
    assert idle.get(b"one") is None


def test_a_value_written_again_and_again_takes_its_place_once() -> None:
    values = RecentMemory(20 * (ENTRY_BYTES + 6)).values()
    values.put(b"one", b"val")
    for number in range(1000):
        values.put(b"two", b"%03d" % number)
    values.age()
    assert values.get(b"one") == b"val"


def test_tables_may_be_opened_in_other_threads_meanwhile() -> None:
    memory = RecentMemory(4 * (ENTRY_BYTES + 6))
    busy = memory.values()
    over = Event()
    opened: list[RecentValues] = []

    def open_tables() -> None:
        while not over.is_set():
            opened.append(memory.values())
            del opened[:-50]

    opener = Thread(target=open_tables)
    opener.start()
    try:
        for number in range(20_000):
            busy.put(b"%05d" % number, b"val")
    finally:
        over.set()
        opener.join()
    assert busy.get(b"19999") == b"val"
