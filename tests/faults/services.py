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
            self._strike(world)
            time.sleep(3)
            world.feed.stop()

    def _strike(self, world: World) -> None:
        names = SERVICE_OF[self.service]
        before = {name: world.places[name].waiting() for name in names}
        pid = world.pid(self.service)
        began = time.monotonic()
        if self.by is not None:
            os.kill(pid, self.by)
            wait_for_death(pid)
        if self.by is None or self.away_seconds:
            world.stop(self.service)
        if self.service != "kafka":  # only now, when nothing can move
            before = {name: world.places[name].waiting() for name in names}
        time.sleep(self.away_seconds)
        world.no_pause(self.service)
        world.platform.start_services()
        if not any(before.values()):
            raise FaultError(f"{self.service} ended with nothing unfinished")
        recovery = max(world.wait_moved(name, before[name], began) for name in names if before[name])
        unfinished = sum(map(len, before.values()))
        world.note(self.service, f"{unfinished} parts", recovery - self.away_seconds)


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
                for _ in ended:
                    world.note("postgres connection", "a transaction")
                done += len(ended)
                time.sleep(0.2 if ended else 0.001)
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
        stop = threading.Event()
        thread = threading.Thread(target=_lock_backwards, args=(world.platform.postgres_url, stop))
        thread.start()
        world.feed.start(FLOW_PER_SECOND * 3)
        try:
            while (found := _deadlocks(world) - before) < self.strikes:
                if time.monotonic() > deadline:
                    raise FaultError(f"only {found} deadlocks came about")
                time.sleep(0.5)
        finally:
            stop.set()
            thread.join()
        world.feed.stop()
        for _ in range(found):
            world.note("sink in a deadlock", "a transaction")


def _deadlocks(world: World) -> int:
    with psycopg.connect(world.platform.postgres_url) as connection:
        row = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


def _lock_backwards(url: str, stop: threading.Event) -> None:
    """Lock customers from the last to the first, again and again; whoever waits for us finds the deadlock."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET deadlock_timeout = '10min'")
        while not stop.is_set():
            ids = connection.execute(
                "SELECT customer_id FROM silver.silver_customers ORDER BY customer_id DESC"
            ).fetchall()
            with connection.transaction():
                for customer in ids:
                    connection.execute(
                        "SELECT FROM silver.silver_customers WHERE customer_id = %s FOR UPDATE", customer
                    )
                    if stop.wait(0.02):
                        return
