"""All faults, and the few that every test run does."""

import signal

from tests.faults.backlog import Backlog
from tests.faults.clock import ClockJumps
from tests.faults.controls import BookPastAHole, Broken, DroppedBatches
from tests.faults.disks import FullDisk
from tests.faults.fault import Fault
from tests.faults.inputs import DaemonDies, ProducerDies, Refusals
from tests.faults.kills import ComingAndGoing, KillAt, LostState, RandomKills, Zombie
from tests.faults.services import Deadlocks, LostConnections, ServiceGoes

# Each failpoint by the pass at which it strikes: not the first, so that something has been done before.
STAGE_POINTS = {
    "stage.before_output": 3,
    "stage.before_changelog": 5,
    "stage.before_acknowledgement": 4,
    "stage.after_acknowledgement": 4,
    "stage.after_apply": 5,
    "stage.before_mark": 2,
    "stage.after_mark": 2,
}
BATCH_POINTS = {"batch.before_done": 4, "batch.after_done": 4, "commit.before": 2, "commit.after": 2}
SINK_POINTS = {
    "sink.before_write": 3,
    "sink.before_database_commit": 3,
    "sink.after_database_commit": 3,
    "sink.before_letters": 1,  # seldom: an id must come again with other content
    "sink.after_letters": 1,
}
INGEST_POINTS = {
    "ingest.before_produce": 3,
    "ingest.before_acknowledgement": 3,
    "ingest.after_acknowledgement": 3,
    "ingest.before_checkpoint": 2,
    "ingest.after_checkpoint": 2,
}
PRODUCER_POINTS = {"producer.before_put": 4, "producer.after_put": 4, "producer.after_ledger": 4}

BACKLOG = 5_000_000

CONTROLS: list[Fault] = [
    Broken(
        "done before acknowledgement",
        alone=True,
        patch="done_before_acknowledgement",
        points={"stage.before_output": 5},
    ),
    Broken(
        "a counter in place of a merge",
        alone=True,
        worker="sink",
        patch="counter_instead_of_merge",
        points={"batch.before_done": 8},
    ),
    BookPastAHole("a book that commits past a hole", alone=True),
]
CHECKPOINT_CONTROL: Fault = Broken(
    "a checkpoint before the flush",
    world="in-process",
    alone=True,
    worker="ingest",
    patch="checkpoint_before_flush",
    points={"ingest.before_produce": 3},
)


def all_faults(kills: int, backlog: int = BACKLOG) -> list[Fault]:
    """Give all, those of one world together.

    Args:
        kills: of the random soak; two thirds behind Kinesis, one third with it.
        backlog: how many records wait before live ones come.
    """
    behind = -(-kills * 2 // 3)
    return [
        # A state begins once, when there is none: each in a pipeline that nothing has run in.
        KillAt("process before its state begins", alone=True, points={"stage.before_epoch": 2}),
        KillAt("process when its state has begun", alone=True, points={"stage.after_epoch": 2}),
        KillAt("process at each point", worker="process", points=STAGE_POINTS | BATCH_POINTS),
        KillAt("sink at each point", worker="sink", points=SINK_POINTS | BATCH_POINTS),
        Zombie(
            "process standing still",
            points={"stage.before_output": 3, "stage.before_acknowledgement": 3, "commit.before": 2},
        ),
        Zombie(
            "sink standing still",
            worker="sink",
            other="sink-2",
            points={"sink.before_database_commit": 3, "commit.before": 2},
        ),
        LostState("state deleted or replaced by an older copy"),
        ComingAndGoing("workers coming and going"),
        DroppedBatches("batches dropped on the way to their agent"),
        ServiceGoes("broker killed", rounds=3),
        ServiceGoes("broker restarted", by=None, rounds=2),
        ServiceGoes("broker away for 60 s", away_seconds=60.0),
        ServiceGoes("Postgres shut down at once", service="postgres", by=signal.SIGQUIT, rounds=3),
        ServiceGoes("Postgres away for 60 s", service="postgres", by=signal.SIGQUIT, away_seconds=60.0),
        LostConnections("database connections ended in a transaction"),
        Deadlocks("deadlocks in the database"),
        RandomKills("random kills behind Kinesis", kills=behind),
        KillAt("ingest at each point, in process", "daemon", worker="ingest", points=INGEST_POINTS),
        KillAt(
            "ingest at each point, Amazon's daemon",
            "daemon",
            worker="ingest-daemon",
            points=INGEST_POINTS,
            exit="exit status 75",
        ),
        DaemonDies("parts of Amazon's daemon", "daemon"),
        ProducerDies("producer at each point", "daemon", points=PRODUCER_POINTS),
        Refusals("Kinesis and DynamoDB refuse", "daemon"),
        RandomKills(
            "random kills of all kinds",
            "daemon",
            kills=kills - behind,
            crews=(("process", "process-2"), ("sink", "sink-2"), ("ingest", "ingest-daemon"), ("producer",)),
        ),
        ClockJumps("clock jumps", "daemon"),
        FullDisk("disk of local state full"),
        FullDisk("disk of Postgres full", folder="postgres", megabytes=400, program="postgres"),
        Backlog("a backlog before live events", "in-process", records=backlog),
        *CONTROLS,
        CHECKPOINT_CONTROL,
    ]


def short_faults() -> list[Fault]:
    """Give a few, of each kind one, that take about two minutes together."""
    return [
        ProducerDies("producer at one point", "in-process", points={"producer.after_put": 4}),
        KillAt(
            "ingest at one point", "in-process", worker="ingest", points={"ingest.after_acknowledgement": 3}
        ),
        KillAt(
            "process at two points",
            "in-process",
            points={"stage.before_acknowledgement": 4, "stage.after_apply": 5},
        ),
        KillAt("sink at one point", "in-process", worker="sink", points={"sink.after_database_commit": 3}),
        Zombie("process standing still", "in-process", points={"stage.before_acknowledgement": 3}),
        RandomKills("random kills", "in-process", kills=4),
        CONTROLS[0],
    ]
