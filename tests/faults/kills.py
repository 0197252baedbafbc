"""Processes that die (`kill -9`), at named points and at random, or stand still for too long."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.fault import SLICE, WORKERS, Fault
from tests.faults.producing import CutRun
from tests.faults.schedule import strikes
from tests.faults.world import SESSION_SECONDS, FaultError, World, wait_for_death

STRIKE_SECONDS = 90.0
STRIKES = 10
"""At one point: of a process that is quick, little is unfinished when it has just committed."""
FLOW_PER_SECOND = 150.0
PRODUCER = "producer"
PRODUCED = 3_000


@dataclass(frozen=True)
class KillAt(Fault):
    """Kill one worker at each of some failpoints, in turn.

    `points` are failpoints by the pass at which they strike. `exit`: how the supervisor must see it end.
    """

    worker: str = "process"
    points: Mapping[str, int] = field(default_factory=dict)
    exit: str = "terminated by SIGKILL"

    def run(self, world: World) -> None:
        for point, at in self.points.items():
            for _ in range(STRIKES):
                if self.strike(world, point, at):
                    break
            else:
                raise FaultError(f"{self.worker} died at {point} {STRIKES} times with nothing unfinished")

    def strike(self, world: World, point: str, at: int) -> bool:
        """Have it die at one point; give whether something was unfinished: else it does not count."""
        world.stop(self.worker)
        world.order(self.worker, f"{point}=kill@{at}")
        how = f"{self.worker}: {self.exit}"
        before = world.exits()[how]
        log = world.platform.log_file(self.worker)
        told = log.stat().st_size if log.exists() else 0
        world.start(self.worker, *world.ingests, *WORKERS)
        pid = world.pid(self.worker)
        deadline = time.monotonic() + STRIKE_SECONDS
        while world.exits()[how] == before:
            if time.monotonic() > deadline:
                raise FaultError(f"{self.worker} has not passed {point} {at} times in {STRIKE_SECONDS:.0f} s")
            world.feed.send(SLICE)
            time.sleep(0.3)
        says = log.read_bytes()
        since = told if told <= len(says) else 0  # a log that has grown too long begins anew
        if f"failpoint {point}".encode() not in says[since:]:
            raise FaultError(f"{self.worker} has died, and not at {point}")
        return world.note_death(self.worker, pid, target=f"{self.worker} at {point}")


@dataclass(frozen=True)
class RandomKills(Fault):
    """Kill workers at random while events flow; workers of different kinds die side by side.

    `crews`: workers that are killed in turn, one crew beside the other; each kill waits until the one before
    it is overcome, and a drawn pause. `producer` is started for each of its kills.
    """

    kills: int = 300
    crews: Sequence[Sequence[str]] = (("process", "process-2"), ("sink", "sink-2"))
    pause_seconds: tuple[float, float] = (0.0, 4.0)

    def run(self, world: World) -> None:
        world.start(*world.ingests, *(name for crew in self.crews for name in crew if name != PRODUCER))
        world.feed.start(FLOW_PER_SECOND)
        failures: list[BaseException] = []
        share = -(-self.kills // len(self.crews))
        threads = [
            threading.Thread(target=self._kill_crew, args=(world, crew, share, failures))
            for crew in self.crews
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.feed.stop()
        for failure in failures:
            raise failure

    def _kill_crew(
        self, world: World, crew: Sequence[str], count: int, failures: list[BaseException]
    ) -> None:
        try:
            for strike in strikes(world.seed, count, crew, every_seconds=self.pause_seconds):
                if strike.target == PRODUCER:
                    _kill_producer(world, strike.after_seconds)
                    continue
                struck = False
                while not struck:  # one that finds nothing unfinished does not count
                    world.wait_working(strike.target)
                    time.sleep(strike.after_seconds)
                    if failures:
                        return
                    struck = world.kill(strike.target)
        except BaseException as error:  # noqa: BLE001  (raised again by `run`)
            failures.append(error)


def _kill_producer(world: World, after_seconds: float) -> None:
    """Kill a producer shortly after it has begun to send; make its run again."""
    left = 0
    while not left:
        run = CutRun(world, len(world.ledgers), PRODUCED)
        process = run.start()
        run.wait_until_sending(process)
        time.sleep(after_seconds / 10)
        process.kill()
        left = run.killed(process)
        run.make_again()
    world.note(PRODUCER, f"{left} records")


@dataclass(frozen=True)
class Zombie(Fault):
    """Let a worker stand still, a batch in hand, beyond its session, and go on when others have its work.

    `points`: where it stands still (SIGSTOP), by the pass.
    """

    worker: str = "process"
    other: str = "process-2"
    points: Mapping[str, int] = field(default_factory=dict)

    def run(self, world: World) -> None:
        for point, at in self.points.items():
            self._strike(world, point, at)
        world.stop(self.other)

    def _strike(self, world: World, point: str, at: int) -> None:
        world.stop(self.worker, self.other)
        world.order(self.worker, f"{point}=stop@{at}")
        world.start(*world.ingests, *WORKERS)
        pid = world.pid(self.worker)
        deadline = time.monotonic() + STRIKE_SECONDS
        while not is_stopped(pid):
            if time.monotonic() > deadline:
                raise FaultError(f"{self.worker} has not passed {point} {at} times in {STRIKE_SECONDS:.0f} s")
            world.feed.send(SLICE)
            time.sleep(0.3)
        began = time.monotonic()
        place = world.place_of(self.worker)
        before = place.waiting()
        if not before:
            raise FaultError(f"{self.worker} stands still at {point} with nothing unfinished")
        world.start(self.other)
        try:
            recovery = world.wait_moved(self.worker, before, began)
            time.sleep(max(0.0, SESSION_SECONDS * 2 - (time.monotonic() - began)))
            world.feed.send(SLICE)
        finally:
            os.kill(pid, signal.SIGCONT)
        world.feed.send(SLICE)
        world.note(f"{self.worker} at {point}", f"{len(before)} parts", recovery)
        # The zombie comes back, or ends itself: either way both share the work again.
        time.sleep(SESSION_SECONDS)


@dataclass(frozen=True)
class ComingAndGoing(Fault):
    """Start and stop further workers, cleanly, while events flow."""

    rounds: int = 4
    every_seconds: float = 15.0

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        world.feed.start(FLOW_PER_SECOND)
        time.sleep(3)
        for number in range(self.rounds):
            for name, place in (("process-2", "process"), ("sink-2", "sink")):
                waiting = world.places[place].waiting()
                began = time.monotonic()
                (world.stop if number % 2 else world.start)(name)
                recovery = world.wait_moved(place, waiting, began) if waiting else None
                if waiting:
                    world.note(
                        f"{name} {'stopped' if number % 2 else 'added'}", f"{len(waiting)} parts", recovery
                    )
            time.sleep(self.every_seconds)
        world.feed.stop()
        world.stop("process-2", "sink-2")


@dataclass(frozen=True)
class LostState(Fault):
    """Kill a worker and delete its local copies of state, or put older ones in their place."""

    rounds: int = 2

    def run(self, world: World) -> None:
        world.stop("process-2")
        world.start(*WORKERS)
        world.feed.send(SLICE)
        world.settle()
        older = world.home / "faults" / "older"
        for _ in range(self.rounds):
            shutil.rmtree(older, ignore_errors=True)
            self._with_dead_worker(world, lambda state: shutil.copytree(state, older))
            world.feed.send(2 * SLICE)
            world.settle()
            self._with_dead_worker(world, lambda state: _replace(state, older), target="older copy")
            self._with_dead_worker(world, shutil.rmtree, target="copy deleted")

    def _with_dead_worker(self, world: World, act: Callable[[Path], object], *, target: str = "") -> None:
        world.feed.send(SLICE)
        pid = world.pid("process")
        with world.held("process"):
            os.kill(pid, signal.SIGKILL)
            wait_for_death(pid)
            died = time.monotonic()
            world.no_pause("process")
            act(world.settings.state_dir)
            world.feed.send(SLICE)
            before = world.places["process"].waiting()
        if target:
            if not before:
                raise FaultError(f"nothing was unfinished when the state was touched ({target})")
            recovery = world.wait_moved("process", before, died)
            world.note(f"process, {target}", f"{len(before)} parts", recovery)


def _replace(state: Path, older: Path) -> None:
    shutil.rmtree(state)
    shutil.copytree(older, state)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess as error:
        raise FaultError(f"process {pid} has ended instead of standing still") from error
