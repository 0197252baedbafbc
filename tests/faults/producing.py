"""Producers of the harness: the same run of the shop, cut short and then made again."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.faults.world import ROOT, FaultError, World

FIRST_END = datetime(2026, 6, 2, tzinfo=UTC)
SECONDS = 120.0


class CutRun:
    """A run of `pipeline produce` that is killed, and then begun again and ended.

    Only the ledger of the second counts, which names every event. What the killed one wrote down must be a
    part of it: what Kinesis has acknowledged is looked for then.

    Args:
        world: where it sends.
        number: of this run among the world's; each has orders of its own.
        count: of its records.
    """

    def __init__(self, world: World, number: int, count: int) -> None:
        self._world = world
        self._count = count
        self._end = (FIRST_END + timedelta(days=number)).isoformat()
        folder = world.ledgers[0].parent
        self._killed, self._whole = folder / f"killed-{number}.jsonl", folder / f"whole-{number}.jsonl"

    def start(self, points: str = "") -> "subprocess.Popen[bytes]":
        """Begin the run that is to be killed, perhaps by failpoints."""
        return self._produce(self._killed, points)

    def wait_until_sending(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until something of it is in its ledger, or it has ended."""
        while process.poll() is None and not (self._killed.exists() and self._killed.stat().st_size):
            time.sleep(0.01)

    def killed(self, process: "subprocess.Popen[bytes]") -> int:
        """Wait for its end, and give the number of records it had not got through; 0 too if it had not begun.

        Raises:
            FaultError: it has ended by itself with an error.
        """
        code = process.wait(SECONDS)
        if code not in {0, -signal.SIGKILL}:
            raise FaultError(f"the producer ended with {code} instead of being killed")
        told = self._killed.read_bytes().count(b"\n") if self._killed.exists() else 0
        self._world.feed.sent += told
        return self._count - told if told else 0

    def make_again(self) -> None:
        """Make the whole run, and have its ledger count.

        Raises:
            FaultError: it fails, or is another run than the killed one.
        """
        code = self._produce(self._whole, "").wait(SECONDS)
        if code != 0:
            raise FaultError(f"the producer ended with {code}")
        whole = set(self._whole.read_bytes().splitlines())
        told = self._killed.read_bytes().splitlines(keepends=True) if self._killed.exists() else []
        strange = [line for line in told if line.endswith(b"\n") and line[:-1] not in whole]
        if strange:
            raise FaultError(f"{len(strange)} records of the killed producer are not of the same run")
        self._world.ledgers.append(self._whole)
        self._world.feed.sent += self._count

    def _produce(self, ledger: Path, points: str) -> "subprocess.Popen[bytes]":
        passed = self._world.folder("producer") / "passed"
        environment = {
            **os.environ,
            "PIPELINE_HOME": str(self._world.home),
            "PIPELINE_FAILPOINTS": ",".join(filter(None, [points, f"record={passed}"])),
        }
        shop = ["--count", str(self._count), "--seed", str(900 + self._world.seed), "--end", self._end]
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "produce", *shop, "--ledger", str(ledger)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
