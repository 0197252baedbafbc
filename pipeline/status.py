"""How the pipeline is: every hop with what waits before it, how old events get, whether all is through."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.aws import aws_of
from pipeline.errors import KAFKA_ADVICE, UserError
from pipeline.postgres import not_answering
from pipeline.settings import Settings
from sinks.registry import SINKS
from streams.events import STREAMS
from streams.ingest.backlog import stream_backlog
from streams.ingest.source import SourceError
from streams.lag import TopicLag, topic_lags
from streams.topics import (
    CLEAN_EVENTS,
    CLEAN_PRODUCTS,
    PROCESS_GROUP,
    SINK_GROUP,
    KafkaUnreachableError,
    raw_topic,
)

AWAY_SECONDS = 30.0
RAW = tuple(raw_topic(stream) for stream in STREAMS)
PROCESSED = (*RAW, CLEAN_EVENTS, CLEAN_PRODUCTS)
# In the order of the path, so that a look at one after the other cannot miss what moves on meanwhile:
# sinks of facts find conflicts, which are dead letters.
SUNK = tuple(SINKS)


@dataclass(frozen=True)
class KinesisHop:
    """A stream: whether records wait to be copied to Kafka, and how far behind its slowest shard is."""

    stream: str
    shards: int
    waiting: bool
    behind_seconds: float


@dataclass(frozen=True)
class KafkaHop:
    """A topic as one group of workers reads it: records waiting, and records a second that are written."""

    group: str
    topic: str
    lag: int
    rate: float


@dataclass(frozen=True)
class Age:
    """How old events of the last minutes were when they came out of a hop, in seconds since their arrival."""

    hop: str
    events: int
    p50_seconds: float
    p99_seconds: float
    newest_at: datetime


@dataclass(frozen=True)
class LastGold:
    """The last run of dbt."""

    run_id: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    failures: int | None


@dataclass(frozen=True)
class Status:
    """All of it. `idle` is true when nothing is under way anywhere."""

    idle: bool
    endpoints: dict[str, str | None]
    kinesis: Sequence[KinesisHop]
    kafka: Sequence[KafkaHop]
    ages: Sequence[Age]
    dead_letters: dict[str, int] = field(default_factory=dict)
    gold: LastGold | None = None


def endpoints(settings: Settings) -> dict[str, str | None]:
    """Give where the parts are; None for AWS itself."""
    return {
        "kafka": settings.kafka_bootstrap,
        "postgres": settings.postgres_url.get_secret_value(),
        "kinesis": settings.kinesis_endpoint,
        "dynamodb": settings.dynamodb_endpoint,
    }


def is_idle(settings: Settings) -> bool:
    """Say whether everything that was put on Kinesis is through, looking along the path.

    Raises:
        UserError: a part does not answer.
    """
    return (
        not any(hop.waiting for hop in kinesis_hops(settings))
        and not any(lag.lag for lag in _lags(settings, PROCESS_GROUP, PROCESSED))
        and not any(lag.lag for lag in _lags(settings, SINK_GROUP, SUNK))
    )


def wait_idle(
    settings: Settings,
    timeout_seconds: float,
    poll_seconds: float = 1.0,
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """Wait until all is through.

    Args:
        settings: where the parts are.
        timeout_seconds: when to give up.
        poll_seconds: between two looks.
        meanwhile: called after each look; may raise to give up.

    Returns:
        whether it was, in time.

    Raises:
        UserError: a part has not answered for half a minute.
    """
    now = time.monotonic()
    deadline, answered_at = now + timeout_seconds, now
    while now < deadline:
        try:
            if is_idle(settings):
                return True
            answered_at = time.monotonic()
        except UserError:
            # A part may be starting again.
            if now - answered_at > AWAY_SECONDS:
                raise
        meanwhile()
        time.sleep(poll_seconds)
        now = time.monotonic()
    return False


def wait_drained(settings: Settings, timeout_seconds: float, poll_seconds: float = 0.5) -> bool:
    """Wait until everything on Kinesis is on Kafka, which unlike an emulator keeps it.

    Returns:
        whether it was, in time; false too when Kinesis does not answer.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        try:
            if not any(hop.waiting for hop in kinesis_hops(settings)):
                return True
        except UserError:
            return False
        time.sleep(poll_seconds)
    return False


def look(settings: Settings, sample_seconds: float = 1.0) -> Status:
    """Look at every hop; rates are measured over the given time.

    Raises:
        UserError: a part does not answer.
    """
    before = {lag.topic: lag.written for lag in _lags(settings, SINK_GROUP, SUNK)}
    began = time.monotonic()
    time.sleep(sample_seconds)
    kinesis = kinesis_hops(settings)
    groups = {
        group: _lags(settings, group, t) for group, t in ((PROCESS_GROUP, PROCESSED), (SINK_GROUP, SUNK))
    }
    seconds = time.monotonic() - began
    kafka = [
        KafkaHop(group, lag.topic, lag.lag, max(0.0, (lag.written - before[lag.topic]) / seconds))
        for group, lags in groups.items()
        for lag in lags
    ]
    try:
        with psycopg.connect(settings.postgres_url.get_secret_value(), connect_timeout=5) as connection:
            ages, letters, gold = _ages(connection), _dead_letters(connection), _last_gold(connection)
    except psycopg.errors.UndefinedTable as error:
        raise UserError("the database has no tables yet: run `pipeline migrate` or `pipeline up`") from error
    except psycopg.Error as error:
        raise not_answering(error) from error
    return Status(
        idle=not any(hop.waiting for hop in kinesis) and not any(hop.lag for hop in kafka),
        endpoints=endpoints(settings),
        kinesis=kinesis,
        kafka=kafka,
        ages=ages,
        dead_letters=letters,
        gold=gold,
    )


def kinesis_hops(settings: Settings) -> list[KinesisHop]:
    """Look at every stream.

    Raises:
        UserError: Kinesis or DynamoDB does not answer, or a stream is missing.
    """
    aws = aws_of(settings)
    hops = []
    try:
        for stream in STREAMS:
            shards = stream_backlog(aws, stream, settings.kinesis_application)
            waiting = any(shard.records_waiting for shard in shards)
            behind = max((shard.behind_ms for shard in shards), default=0) / 1000
            hops.append(KinesisHop(stream, len(shards), waiting, behind))
    except SourceError as error:
        raise UserError(f"{_one_line(error)}; does `pipeline up` run?") from error
    except (ClientError, BotoCoreError) as error:
        raise UserError(f"Kinesis does not answer: {_one_line(error)}; does `pipeline up` run?") from error
    return hops


def _lags(settings: Settings, group: str, topics: Sequence[str]) -> list[TopicLag]:
    try:
        return topic_lags(settings.kafka, group, topics)
    except KafkaUnreachableError as error:
        raise UserError(f"{error}{KAFKA_ADVICE}") from error


def _ages(connection: psycopg.Connection[Any]) -> list[Age]:
    rows = connection.execute(
        """
        SELECT
            hop,
            count(*),
            percentile_cont(0.5) WITHIN GROUP (ORDER BY age_seconds),
            percentile_cont(0.99) WITHIN GROUP (ORDER BY age_seconds),
            max(at)
        FROM ops.ops_hops
        WHERE at > (SELECT max(at) FROM ops.ops_hops) - interval '5 minutes'
        GROUP BY hop
        ORDER BY array_position(ARRAY['ingest', 'bronze', 'clean', 'silver'], hop)
        """
    ).fetchall()
    return [Age(*row) for row in rows]


def _dead_letters(connection: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(
        connection.execute(
            "SELECT status, count(*) FROM silver.dead_letters GROUP BY status ORDER BY status"
        ).fetchall()
    )


def _last_gold(connection: psycopg.Connection[Any]) -> LastGold | None:
    row = connection.execute(
        """
        SELECT run_id, status, started_at, finished_at, failures
        FROM ops.ops_dbt_runs
        ORDER BY started_at DESC
        LIMIT 1
        """
    ).fetchone()
    return LastGold(*row) if row else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
