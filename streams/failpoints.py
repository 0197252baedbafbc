"""Named places where a process can be made to die or to stand still, to test what comes of it.

Each step that makes something durable has one before and one after it. Nothing happens at them unless they
are armed at start (`PIPELINE_FAILPOINTS`, refused outside dev): a call is then one comparison, once a batch.

    stage.before_output=kill@3               SIGKILL itself when it passes the third time
    commit.before=stop,sink.before_write=kill@2
    record=/tmp/passed                       write the name of each point into that file, the first time
"""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "producer.before_put": "a request to Kinesis is about to be sent",
        "producer.after_put": "Kinesis has answered; the ledger does not say so yet",
        "producer.after_ledger": "the ledger names what Kinesis has taken",
        "ingest.before_produce": "records were read; none is handed to Kafka's producer",
        "ingest.before_acknowledgement": "all are handed to the producer; none need be on Kafka",
        "ingest.after_acknowledgement": "Kafka has all of them; nothing is checkpointed",
        "ingest.before_checkpoint": "a checkpoint is about to be saved",
        "ingest.after_checkpoint": "it is saved",
        "stage.before_epoch": "a state begins; the changelog does not say so yet",
        "stage.after_epoch": "the changelog says so, the local copy does not",
        "stage.before_output": "a step is computed; nothing of it is sent",
        "stage.before_changelog": "outputs are handed to the producer, changed state is not",
        "stage.before_acknowledgement": "both are handed to the producer; neither need be on Kafka",
        "stage.after_acknowledgement": "Kafka has both; the local copy has not",
        "stage.after_apply": "the local copy has the step too",
        "stage.before_mark": "the local copy is about to note how far it is",
        "stage.after_mark": "it has noted that",
        "sink.before_write": "a transaction has begun; nothing is written",
        "sink.before_database_commit": "all is written and not committed",
        "sink.after_database_commit": "the transaction is committed",
        "sink.before_letters": "the rest of a batch is committed; what was refused is not sent",
        "sink.after_letters": "what was refused is on Kafka",
        "batch.before_done": "everything of a batch is durable; its book does not say so",
        "batch.after_done": "the book says so; the offset is not committed",
        "commit.before": "offsets are about to be committed",
        "commit.after": "they are committed",
    }
)
"""Every failpoint, and how things stand when it is passed."""


class FailpointError(ValueError):
    """The text that arms failpoints is wrong; the message is one line and says how."""


class Strike(NamedTuple):
    """What to do at a point: `signal` to send to oneself, the `at`-th time it is passed (from 1)."""

    name: str
    signal: signal.Signals
    at: int


class Plan(NamedTuple):
    """What is armed. `record`: the file that takes the names of points that are passed."""

    strikes: tuple[Strike, ...] = ()
    record: Path | None = None


_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_plan: Plan | None = None
_passed: Counter[str] = Counter()
_lock: Final = threading.Lock()


def parse(text: str) -> Plan:
    """Read what is to be armed; an empty text arms nothing.

    Raises:
        FailpointError: a name is not in `NAMES`, or an action is none.
    """
    strikes, record = [], None
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, action = item.partition("=")
        if name == "record" and action:
            record = Path(action)
            continue
        what, _, times = action.partition("@")
        if name not in NAMES:
            raise FailpointError(f"there is no failpoint {name!r}; there are {', '.join(sorted(NAMES))}")
        if not equals or what not in _SIGNALS or not (times or "1").isdigit() or times == "0":
            raise FailpointError(f"{item!r} is not like {name}=kill, {name}=kill@3 or {name}=stop@3")
        strikes.append(Strike(name, _SIGNALS[what], int(times or 1)))
    return Plan(tuple(strikes), record)


def arm(text: str) -> None:
    """Arm failpoints for the rest of this process's life; counts begin at 0. An empty text disarms all.

    Raises:
        FailpointError: as `parse`.
    """
    global _plan  # noqa: PLW0603  (one comparison where nothing is armed: an object to pass would cost more)
    plan = parse(text)
    _passed.clear()
    _plan = plan if plan != Plan() else None


def failpoint(name: str) -> None:
    """Pass a point, and strike here if that is armed. `name` is one of `NAMES`."""
    if _plan is not None:
        _pass(_plan, name)


def _pass(plan: Plan, name: str) -> None:
    with _lock:
        _passed[name] += 1
        times = _passed[name]
        if times == 1 and plan.record is not None:
            with plan.record.open("a") as file:
                file.write(f"{name}\n")
        for strike in plan.strikes:
            if strike.name == name and strike.at == times:
                # stderr unbuffered: whoever is killed flushes nothing any more
                os.write(
                    sys.stderr.fileno(), f"failpoint {name}, time {times}: {strike.signal.name}\n".encode()
                )
                os.kill(os.getpid(), strike.signal)
