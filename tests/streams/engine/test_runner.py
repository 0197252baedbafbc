"""Agents refuse what a stage must not give, and give partitions back at once, whatever they are at."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from streams.engine.batch import Batch, Result
from streams.engine.runner import StageRunner
from streams.engine.table import RecoveryAbandonedError


class OneKey:
    """A stage that sets a key."""

    name = "one-key"
    topic = "t"

    def __init__(self, key: Any = b"k", *, stateful: bool = True, settings: Any = None) -> None:
        self.stateful = stateful
        self.state_settings: Mapping[str, str] = settings or {}
        self._key = key

    def process(self, *_: Any) -> Result:
        return Result(changes={self._key: b"v"})


class Table:
    """One whose recovery takes as long as it is not abandoned."""

    new_epoch = None
    made_with: Mapping[str, str] = {}
    settings: Mapping[str, str] = {}
    epoch = 1

    def __init__(self, *, endless: bool) -> None:
        self._endless = endless
        self.recoveries = 0

    def recover(self, is_abandoned: Callable[[], bool]) -> int:
        self.recoveries += 1
        while self._endless:
            if is_abandoned():
                self._endless = False
                raise RecoveryAbandonedError
            time.sleep(0.01)
        return 0

    def mark_position(self) -> None:
        pass


class Nothing:
    """Outputs that must not be sent."""

    def send(self, outputs: Any) -> None:
        raise AssertionError(outputs)

    def send_to(self, *given: Any) -> None:
        raise AssertionError(given)


def made(stage: OneKey, table: Any = None) -> StageRunner:
    outputs: Any = Nothing()
    return StageRunner(stage, outputs=outputs, open_table=lambda *_: table, changelog_topic="c")


def test_partitions_are_given_back_while_their_state_is_still_being_read() -> None:
    table = Table(endless=True)

    async def taken_and_given_back() -> None:
        of = made(OneKey(), table)
        await of.prepare({0})
        await asyncio.sleep(0.05)
        assert not of.is_ready(0)
        await asyncio.wait_for(of.released(), timeout=5)
        assert not of.is_ready(0)
        await of.prepare({0})
        await asyncio.sleep(0.05)
        assert of.is_ready(0)

    asyncio.run(taken_and_given_back())
    assert table.recoveries == 2


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (OneKey(b"\x00epoch"), "cannot be a key of state"),
        (OneKey("text"), "cannot be a key of state"),
        (OneKey(stateful=False), "one-key keeps no state, and gave changes of it"),
    ],
)
def test_changes_that_would_destroy_state_are_refused_before_anything_is_sent(
    stage: OneKey, message: str
) -> None:
    async def worked() -> None:
        of = made(stage, Table(endless=False))
        await of.prepare({0})
        await asyncio.sleep(0.05)
        await of.work([Batch("t", 0, [], 0, 1, None)])

    with pytest.raises(ValueError, match=message):
        asyncio.run(worked())


def test_settings_of_state_are_texts() -> None:
    with pytest.raises(TypeError, match="one-key: names and values of state_settings are texts"):
        made(OneKey(settings={"layout": 1}))
