"""Faults on the way in: producers and ingest workers that die, Kinesis and DynamoDB that refuse."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.faults.entry import ENVIRONMENT
from tests.faults.fault import SLICE, WORKERS, Fault
from tests.faults.kinesis import RefusingProxy
from tests.faults.world import ROOT, FaultError, World

PRODUCE_SECONDS = 120.0


@dataclass(frozen=True)
class ProducerDies(Fault):
    """Kill the producer at each of some failpoints; what it was about to send is sent again from the start.

    Only the ledger of the last run counts, which names every event; what each killed one has written down is
    a part of it, and is looked for as well.
    """

    points: Mapping[str, int] = field(default_factory=dict)
    count: int = 3_000

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        for number, (point, at) in enumerate(self.points.items()):
            ledger = world.home / "ledger" / f"killed-{number}.jsonl"
            code = self._produce(world, ledger, number, f"{point}=kill@{at}")
            if code != -signal.SIGKILL:
                raise FaultError(f"the producer ended with {code} instead of being killed at {point}")
            told = ledger.read_bytes().count(b"\n")
            if told >= self.count:
                raise FaultError(f"the producer was through when it died at {point}")
            world.note(f"producer at {point}", f"{self.count - told} records")
            again = world.home / "ledger" / f"again-{number}.jsonl"
            if (code := self._produce(world, again, number, "")) != 0:
                raise FaultError(f"the producer ended with {code}")
            self._check_contained(ledger, again)
            world.ledgers.append(again)
            world.feed.sent += told + self.count

    def _produce(self, world: World, ledger: Path, number: int, points: str) -> int:
        end = datetime(2026, 6, 2 + number, tzinfo=UTC).isoformat()
        passed = world.folder("producer") / "passed"
        environment = {
            **os.environ,
            "PIPELINE_HOME": str(world.home),
            "PIPELINE_FAILPOINTS": ",".join(filter(None, [points, f"record={passed}"])),
        }
        arguments = ["--count", str(self.count), "--seed", str(900 + world.seed), "--end", end]
        return subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "produce", *arguments, "--ledger", str(ledger)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PRODUCE_SECONDS,
            check=False,
        ).returncode

    def _check_contained(self, killed: Path, again: Path) -> None:
        """Both runs must have sent the same, or the second ledger would not speak for the first."""
        lines = set(again.read_bytes().splitlines())
        strange = [line for line in killed.read_bytes().splitlines() if line not in lines]
        if strange:
            raise FaultError(f"{len(strange)} records of the killed producer are not of the same run")


@dataclass(frozen=True)
class DaemonDies(Fault):
    """Kill parts of Amazon's daemon: the Java process, a shard's child, the launcher above them."""

    parts: tuple[str, ...] = ("java", "child", "launcher")

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        for part in self.parts:
            self._strike(world, part)

    def _strike(self, world: World, part: str) -> None:
        world.feed.send(SLICE)
        world.settle()  # so that it reads when it is struck
        launcher = psutil.Process(world.pid("ingest-daemon"))
        found = {
            "launcher": [launcher],
            "java": [p for p in launcher.children(recursive=True) if p.name() == "java"],
            "child": [
                p
                for p in launcher.children(recursive=True)
                if "streams.ingest.child" in " ".join(p.cmdline())
            ],
        }[part]
        if not found:
            raise FaultError(f"the daemon has no {part}")
        world.feed.send(2 * SLICE)
        os.kill(found[0].pid, signal.SIGKILL)
        if not world.note_death("ingest-daemon", found[0].pid, target=f"daemon's {part}"):
            raise FaultError(f"the daemon's {part} died with nothing unfinished")


@dataclass(frozen=True)
class Refusals(Fault):
    """Kinesis refuses requests for their rate, or parts of them; DynamoDB refuses to save checkpoints."""

    least_each: int = 3
    seconds: float = 60.0

    def run(self, world: World) -> None:
        endpoint = world.settings.kinesis_endpoint or ""
        with RefusingProxy(endpoint, world.seed) as proxy:
            settings = {"PIPELINE_KINESIS_ENDPOINT": proxy.url, "PIPELINE_DYNAMODB_ENDPOINT": proxy.url}
            own = world.folder("ingest") / ENVIRONMENT
            own.write_text(json.dumps(settings))
            world.stop("ingest")
            world.start(*world.ingests, *WORKERS)
            sender = world.sender_to(proxy.url)
            deadline = time.monotonic() + self.seconds
            wanted = {"PutRecords", "GetRecords", "UpdateItem", "part of PutRecords"}
            while any(proxy.refused[one] < self.least_each for one in wanted):
                if time.monotonic() > deadline:
                    raise FaultError(f"too little was refused: {dict(proxy.refused)}")
                world.feed.send_by(sender, SLICE)
                time.sleep(1)
            world.settle()
            for what, count in sorted(proxy.refused.items()):
                for _ in range(count):
                    world.note(what, "a request")
            own.unlink()
            world.stop("ingest")
        world.start("ingest")
