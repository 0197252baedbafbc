"""Services that die, restart, stay away, or refuse."""

import os
import signal
import threading
import time
from dataclasses import dataclass

import psycopg

from tests.faults.fault import SLICE, WORKERS, Fault
from tests.faults.kills import FLOW_PER_SECOND
from tests.faults.world import FaultError, World, wait_for_death

STRIKE_SECONDS = 60.0
SERVICE_OF = {"kafka": ("process", "sink"), "postgres": ("sink",)}


@dataclass(frozen=True)
class ServiceGoes(Fault):
    """A service ends while events flow, and comes back.

    `by`: what signal ends it; None: it is stopped cleanly. `away_seconds`: how long it is kept from starting.
    """

    service: str = "kafka"
    by: signal.Signals | None = signal.SIGKILL
    away_seconds: float = 0.0
    rounds: int = 1

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        for _ in range(self.rounds):
            world.feed.start(FLOW_PER_SECOND)
            time.sleep(3)
            deadline = time.monotonic() + STRIKE_SECONDS
            while not self._strike(world):
                if time.monotonic() > deadline:
                    raise FaultError(f"{self.service} always ended with nothing unfinished")
            time.sleep(3)
            world.feed.stop()

    def _strike(self, world: World) -> bool:
        """End the service, have it come back, and say whether something was unfinished."""
        names = SERVICE_OF[self.service]
        before = {name: world.places[name].waiting() for name in names}
        pid = world.pid(self.service)
        began = time.monotonic()
        if self.by is not None:
            os.kill(pid, self.by)
            wait_for_death(pid)
        if self.by is None or self.away_seconds:
            world.stop(self.service)
        if self.service != "kafka":  # only now, when nothing can move any more
            before = {name: world.places[name].waiting() for name in names}
        time.sleep(self.away_seconds)
        world.no_pause(self.service)
        world.platform.start_services()
        if not any(before.values()):
            return False
        recovery = max(world.wait_moved(name, before[name], began) for name in names if before[name])
        world.note(self.service, f"{sum(map(len, before.values()))} parts", recovery - self.away_seconds)
        return True


@dataclass(frozen=True)
class LostConnections(Fault):
    """The server ends the sinks' connections in the middle of their transactions."""

    strikes: int = 20

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        world.feed.start(FLOW_PER_SECOND)
        done = 0
        with psycopg.connect(world.platform.postgres_url, autocommit=True) as connection:
            deadline = time.monotonic() + STRIKE_SECONDS
            while done < self.strikes:
                if time.monotonic() > deadline:
                    raise FaultError(f"only {done} transactions were found under way")
                ended = connection.execute(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = 'pipeline sink' AND xact_start IS NOT NULL
                        AND clock_timestamp() - xact_start > interval '2 milliseconds'
                    """
                ).fetchall()
                if ended:
                    world.note_all("connection", "a transaction", len(ended))
                done += len(ended)
                time.sleep(0.5 if ended else 0.001)
        world.feed.stop()


@dataclass(frozen=True)
class Deadlocks(Fault):
    """Somebody else locks the same customers in the other order, until sinks are the victims."""

    strikes: int = 3

    def run(self, world: World) -> None:
        world.start(*world.ingests, *WORKERS)
        world.feed.send(4 * SLICE)
        world.settle()
        before, deadline = _deadlocks(world), time.monotonic() + STRIKE_SECONDS * 2
        other = Other(world.platform.postgres_url)
        world.feed.start(FLOW_PER_SECOND * 3)
        with other:
            while (found := _deadlocks(world) - before - other.victim) < self.strikes:
                if time.monotonic() > deadline:
                    raise FaultError(f"only {found} deadlocks came about")
                time.sleep(0.5)
        world.feed.stop()
        world.note_all("sink in a deadlock", "a transaction", found)


def _deadlocks(world: World) -> int:
    with psycopg.connect(world.platform.postgres_url) as connection:
        row = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


class Other:
    """Locks customers from the last to the first, again and again, while its context lasts.

    Who waits for a lock looks for a deadlock once, after a time: a sink's after 1 s, ours after 3 s.
    """

    def __init__(self, url: str) -> None:
        self.victim = 0
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET deadlock_timeout = '3s'")
            ids = connection.execute(
                "SELECT customer_id FROM silver.silver_customers ORDER BY customer_id DESC"
            ).fetchall()
            while not self._stop.is_set():
                try:
                    self._lock_all(connection, ids)
                except psycopg.errors.DeadlockDetected:
                    self.victim += 1

    def _lock_all(self, connection: psycopg.Connection, ids: list[tuple[object, ...]]) -> None:
        with connection.transaction():
            for customer in ids:
                connection.execute(
                    "SELECT FROM silver.silver_customers WHERE customer_id = %s FOR UPDATE", customer
                )
                if self._stop.wait(0.005):
                    return
