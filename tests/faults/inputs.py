"""Faults on the way in: producers and ingest workers that die, Kinesis and DynamoDB that refuse."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

from tests.faults.entry import ENVIRONMENT
from tests.faults.fault import SLICE, WORKERS, Fault
from tests.faults.kinesis import RefusingProxy
from tests.faults.producing import CutRun
from tests.faults.world import FaultError, World


@dataclass(frozen=True)
class ProducerDies(Fault):
    """Kill the producer at each of some failpoints; its run is made again from the start."""

    points: Mapping[str, int] = field(default_factory=dict)
    count: int = 3_000

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        for point, at in self.points.items():
            run = CutRun(world, len(world.ledgers), self.count)
            left = run.killed(run.start(f"{point}=kill@{at}"))
            if not left:
                raise FaultError(f"the producer was through when it died at {point}")
            world.note(f"producer at {point}", f"{left} records")
            run.make_again()


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
                world.note_all(what, "a request", count)
            sender.close()
            own.unlink()
            world.stop("ingest")
        world.start("ingest")
