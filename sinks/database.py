"""Connections to Postgres, and transactions that are tried again while the database is away."""

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Generic, NamedTuple, TypeVar

import psycopg

from sinks.binary import take_values
from streams.failpoints import failpoint

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Item = TypeVar("Item")
Connection = psycopg.Connection[tuple[object, ...]]

TRANSIENT_CLASSES: Final = frozenset({"08", "40", "53", "57"})
"""SQLSTATE classes that pass: connection, rolled back, out of resources, operator intervention."""

STOOD_STILL: Final = "25P03"
"""The server has ended a transaction in which we had nothing to say for too long; it passes too."""

REFUSAL_CLASSES: Final = frozenset({"22", "23"})
"""SQLSTATE classes that a row's content causes: data exception, integrity constraint."""

SEARCH_PATH: Final = ("silver", "bronze", "ops")
"""Where the tables are that statements name without a schema: a rebuild writes the same ones elsewhere."""

FIRST_WAIT_SECONDS: Final = 0.05
LONGEST_WAIT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 15.0
"""Between two statements of a transaction lies only computing. Who stands still there for longer (a stopped
process, a paused machine) holds locks that all others wait for."""


ATTEMPT_SECONDS: Final = 120.0
"""A transaction that takes longer hangs: its server process stands still, or is gone without a word."""


class DatabaseUnavailableError(Exception):
    """The database stayed away for longer than we try, or we were told to stop; nothing was written."""


class Database:
    """A database, and the idle connections to it; may be used by several threads at a time.

    Args:
        url: libpq URL.
        prepare: statements that each new connection begins with.
        retry_seconds: how long a transaction is tried again before it is given up.
        connections: as many are open at a time; further threads wait for one.
        stop: when set, no transaction is tried again.
        search_path: schemas in which statements find their tables, the first that has one.
        idle_seconds: how long a transaction may stand still until the server ends it and frees its locks.
        attempt_seconds: how long a transaction may take before its connection is cut and it is tried again.
    """

    def __init__(
        self,
        url: str,
        *,
        prepare: Sequence[str] = (),
        retry_seconds: float = 600.0,
        connections: int = 8,
        stop: threading.Event | None = None,
        search_path: Sequence[str] = SEARCH_PATH,
        idle_seconds: float = IDLE_SECONDS,
        attempt_seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._url = url
        self._idle_ms = round(idle_seconds * 1000)
        self._search_path = ",".join(search_path)
        self._prepare = tuple(prepare)
        self._retry_seconds = retry_seconds
        self._stop = stop or threading.Event()
        self._deadlines = Deadlines(attempt_seconds)
        self._free = threading.BoundedSemaphore(connections)
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """Do work in one transaction; when this returns it is committed and durable.

        The work may run several times, so it must have no other effects. A transaction whose commit was not
        confirmed is run again too: what it does must be harmless when done twice.

        Raises:
            DatabaseUnavailableError: after `retry_seconds`, or when told to stop.
            psycopg.Error: anything else the database says, such as a refused row.
        """
        began = time.monotonic()
        wait, away = FIRST_WAIT_SECONDS, False
        while True:
            try:
                result = self._attempt(work)
            except psycopg.Error as error:
                if not is_transient(error):
                    raise
                reason = " ".join(str(error).split())
                if not away:
                    log.warning("Postgres: %s; trying again for %.0f s", reason, self._retry_seconds)
                    away = True
                spent = time.monotonic() - began
                if spent > self._retry_seconds or self._stop.wait(wait * random.uniform(0.5, 1)):  # noqa: S311  (jitter)
                    raise DatabaseUnavailableError(f"Postgres is away for {spent:.0f} s: {reason}") from error
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            else:
                if away:
                    log.warning("Postgres is back after %.1f s", time.monotonic() - began)
                return result

    def close(self) -> None:
        """Close the idle connections; a later transaction opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _attempt(self, work: Callable[[Connection], Result]) -> Result:
        with self._free, self._connection() as connection, self._deadlines.watch(connection):
            with connection.transaction():
                failpoint("sink.before_write")
                result = work(connection)
                failpoint("sink.before_database_commit")
            failpoint("sink.after_database_commit")
            return result

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        except psycopg.Error as error:
            # The others that are idle have been lost to the same cause, most likely.
            if is_transient(error) and connection.broken:
                self.close()
            raise
        finally:
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()

    def _connect(self) -> Connection:
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            application_name="pipeline sink",
            connect_timeout=10,
            # The other end's machine may be gone without a word: noticed within half a minute.
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
            options="-c TimeZone=UTC -c jit=off -c client_min_messages=warning "
            f"-c search_path={self._search_path} -c idle_in_transaction_session_timeout={self._idle_ms}",
        )
        take_values(connection)
        try:
            for statement in self._prepare:
                connection.execute(statement.encode())
        except BaseException:
            connection.close()
            raise
        return connection


class Deadlines:
    """Cuts connections whose transactions take too long, so that whoever waits for the server goes on.

    A server process that is stopped says nothing, and neither does one whose network is gone: no time-out of
    its own helps. One thread looks after all connections, from the first transaction on.

    Args:
        seconds: that a transaction may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._watched: dict[Connection, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, connection: Connection) -> Iterator[None]:
        """Cut a connection if the block takes too long: it then gets an error that passes."""
        with self._lock:
            self._watched[connection] = time.monotonic() + self._seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(connection, None)

    def _run(self) -> None:
        while True:
            time.sleep(self._seconds / 10)
            with self._lock:
                now = time.monotonic()
                late = [connection for connection, until in self._watched.items() if until < now]
                for connection in late:
                    log.warning("Postgres has not answered for %.0f s: cutting the connection", self._seconds)
                    del self._watched[connection]
                    _cut(connection)


def _cut(connection: Connection) -> None:
    """Shut a connection's socket down; whoever waits for the server sees it end."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        pass  # it has just ended by itself


def is_transient(error: psycopg.Error) -> bool:
    """Tell whether the same transaction may succeed later."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] in TRANSIENT_CLASSES or error.sqlstate == STOOD_STILL


def is_refusal(error: Exception) -> bool:
    """Tell whether the content of a row caused the error."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate[:2] in REFUSAL_CLASSES
    # What psycopg cannot even send: NUL characters, lone surrogates, integers beyond their type.
    return isinstance(error, psycopg.DataError | UnicodeEncodeError | OverflowError)


class Refused(NamedTuple, Generic[Item]):
    """An item whose content the database does not take, and what it says."""

    item: Item
    message: str


def write_bisecting(
    database: Database,
    items: Sequence[Item],
    write: Callable[[Connection, Sequence[Item]], Result],
) -> tuple[list[Result], list[Refused[Item]]]:
    """Write items in one transaction; if some are refused, find them by halves and write the rest.

    Returns:
        what `write` returned, one for each transaction; and the refused items.

    Raises:
        DatabaseUnavailableError: the database stayed away.
    """
    if not items:
        return [], []
    try:
        return [database.transact(lambda connection: write(connection, items))], []
    except (psycopg.Error, UnicodeEncodeError, OverflowError) as error:
        if not is_refusal(error):
            raise
        if len(items) == 1:
            return [], [Refused(items[0], " ".join(str(error).split()))]
    middle = len(items) // 2
    first, first_refused = write_bisecting(database, items[:middle], write)
    second, second_refused = write_bisecting(database, items[middle:], write)
    return first + second, first_refused + second_refused
