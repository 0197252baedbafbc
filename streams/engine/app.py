"""A Faust app whose agents are given partition batches."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import faust
import msgspec
from confluent_kafka.admin import AdminClient
from faust.serializers import codecs

from streams.engine.batch import Batch, Sink, Stage
from streams.engine.changelog import changelog_topic, changelog_topics, end_offsets, new_consumer
from streams.engine.config import EngineConfig
from streams.engine.consumer import BatchConsumer, BatchTransport
from streams.engine.copies import table_opener
from streams.engine.crash import crash
from streams.engine.output import Outputs
from streams.engine.runner import Runner, SinkRunner, StageRunner, TopicWork
from streams.kafka import KafkaConfig
from streams.lag import topic_lags
from streams.topics import KafkaUnreachableError, check_topics, partition_counts

log = logging.getLogger(__name__)

STOP_DEADLINE_SECONDS: Final = 15.0
WATCH_EVERY_SECONDS: Final = 10.0
STUCK_SECONDS: Final = 60.0
FETCH_BYTES: Final = 32 * 1024 * 1024
"""Fetched and not yet taken, compressed, of all partitions; a worker alone may hold all of them."""
SINK_THREADS: Final = 6
"""Batches that all sinks of a process may write at a time, and so its connections to the database."""


class _Untouched(codecs.Codec):
    """Hands a batch on as it is: decoding is the stage's, once for the batch."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> bytes:
        return msgspec.json.encode(s)


codecs.register("untouched", _Untouched())


class BatchApp(faust.App):
    """The app; made by `create_app`."""

    def __init__(
        self, config: EngineConfig, topics: Collection[str], on_stopping: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(
            config.app_id,
            broker=[f"kafka://{host}" for host in config.kafka.bootstrap.split(",")],
            broker_credentials=_credentials(config.kafka),
            store="memory://",
            datadir=str(config.state_dir / "faust"),
            autodiscover=False,
            topic_partitions=config.partitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=_fetch_bytes(len(topics) * config.partitions),
            # A worker that starts while brokers do may know no partitions yet; it asks again this often.
            consumer_metadata_max_age_ms=10_000,
            broker_max_poll_records=8000,
            broker_session_timeout=config.session_timeout_seconds,
            broker_heartbeat_interval=config.session_timeout_seconds / 4,
            broker_request_timeout=max(40.0, config.session_timeout_seconds),
            broker_commit_interval=1.0,
            stream_wait_empty=False,
            stream_buffer_maxsize=256,
            table_standby_replicas=0,
            web_enabled=False,
        )
        self.transport = BatchTransport(self.conf.broker_consumer, self)
        self.task(self.watch)
        self.engine = config
        self._on_stopping = on_stopping
        self._topics: dict[str, TopicWork] = {}
        self._deadline: threading.Timer | None = None
        self._hangs = False

    def batch_agent(self, runner: Runner) -> None:
        """Add what a runner does with its topic's batches; for Faust, all of a topic are one agent."""
        if runner.topic not in self._topics:
            self._topics[runner.topic] = self._topic_agent(runner.topic)
        self._topics[runner.topic].add_agent(runner)

    def _topic_agent(self, name: str) -> TopicWork:
        work = TopicWork(name, self._done)
        topic = self.topic(
            name,
            key_type=bytes,
            value_serializer="untouched",
            partitions=self.engine.partitions,
            acks=False,
        )

        async def take_batches(stream: Any) -> None:
            async for event in stream.noack().events():
                work.take(self.batch_consumer.delivered(event.value))

        take_batches.__name__ = name  # what Faust calls the agent in its messages
        self.agent(topic, name=name)(take_batches)
        return work

    def _done(self, batch: Batch) -> None:
        self.batch_consumer.done(batch)

    @property
    def batch_consumer(self) -> BatchConsumer:
        """The consumer, which the transport makes."""
        return cast("BatchConsumer", self.consumer)

    # -- called by the batch consumer

    def forget(self, topic: str, partition: int, position: int) -> None:
        """Leave what was fetched behind a position and is not in work yet."""
        self._topics[topic].forget(partition, position)

    def batches_in_work(self) -> bool:
        """Whether an agent is at work."""
        return any(work.busy for work in self._topics.values())

    async def on_batches_revoked(self) -> None:
        """Finish what is in work, within half the session time-out."""
        deadline = self.engine.session_timeout_seconds / 2
        await asyncio.gather(*(work.finish(deadline) for work in self._topics.values()))

    async def on_batches_assigned(self, assigned: set[Any]) -> None:
        """Make the agents ready for their partitions."""
        await asyncio.gather(
            *(
                work.assigned({tp.partition for tp in assigned if tp.topic == topic})
                for topic, work in self._topics.items()
            )
        )

    async def watch(self) -> None:
        """End the process when it is alive and stuck: records wait, nothing is in work, nothing moves."""
        loop = asyncio.get_running_loop()
        asker = new_consumer(self.engine.kafka)
        empty_handed_since: tuple[int, float] | None = None
        while not self.should_stop:
            await asyncio.sleep(WATCH_EVERY_SECONDS)
            held = self.batch_consumer.held_partitions()
            if not held:
                # More workers than partitions may wait so; but then the group as a whole goes on.
                done = await loop.run_in_executor(None, self._done_by_group_if_behind)
                if done is None or empty_handed_since is None or done != empty_handed_since[0]:
                    empty_handed_since = None if done is None else (done, time.monotonic())
                elif time.monotonic() - empty_handed_since[1] > STUCK_SECONDS:
                    crash(f"no partitions, and the group has stood still for {STUCK_SECONDS:.0f} s")
                continue
            empty_handed_since = None
            ends = await loop.run_in_executor(None, end_offsets, asker, held)
            fetched = self.batch_consumer.fetch_positions()
            since = self.batch_consumer.stuck_since(ends, fetched, time.monotonic())
            if since is not None and time.monotonic() - since > STUCK_SECONDS and not self.batches_in_work():
                crash(f"records wait and nothing has moved for {STUCK_SECONDS:.0f} s")

    def _done_by_group_if_behind(self) -> int | None:
        """Give the number of records that the group has done, None if it is not behind."""
        try:
            lags = topic_lags(self.engine.kafka, self.engine.app_id, self._topics)
        except KafkaUnreachableError:
            return None
        behind = sum(lag.lag for lag in lags)
        return sum(lag.written for lag in lags) - behind if behind else None

    # -- called by Faust

    async def crash(self, reason: BaseException) -> None:
        """End the process: a part of Faust failed, and what it had in hand must not be committed."""
        crash("the worker failed", reason)

    async def on_stop(self) -> None:
        """Stop cleanly: finish the batches in work, commit, leave the group."""
        # Not the loop's: a thread that hangs keeps the process alive when the loop has ended.
        self._deadline = threading.Timer(STOP_DEADLINE_SECONDS, crash, ["the worker did not stop in time"])
        self._deadline.daemon = True
        self._deadline.start()
        self.batch_consumer.stop_taking()
        self.consumer.stop_flow()
        self._on_stopping()
        in_time = await asyncio.gather(
            *(work.finish(STOP_DEADLINE_SECONDS / 2) for work in self._topics.values())
        )
        self._hangs = not all(in_time)
        await self.consumer.commit()
        await super().on_stop()

    def has_ended(self) -> None:
        """Note that the loop has ended: the deadline stands only where a thread is still at a batch."""
        if self._deadline is not None and not self._hangs:
            self._deadline.cancel()


def _fetch_bytes(partitions: int) -> int:
    """Give the most to fetch of a partition at a time; below 64 KiB requests cost more than it saves."""
    return min(max(FETCH_BYTES // partitions, 64 * 1024), 1024 * 1024)


def _credentials(kafka: KafkaConfig) -> Any:
    if kafka.security_protocol == "PLAINTEXT":
        return None
    import ssl  # noqa: PLC0415  (only where it is needed)

    context = (
        ssl.create_default_context(cafile=kafka.ssl_ca_location) if "SSL" in kafka.security_protocol else None
    )
    if not kafka.sasl_mechanism:
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=kafka.sasl_password,
        ssl_context=context,
        mechanism=kafka.sasl_mechanism,
    )


def create_app(
    config: EngineConfig,
    *,
    stages: Sequence[Stage] = (),
    sinks: Sequence[Sink] = (),
    on_stopping: Callable[[], None] = lambda: None,
) -> BatchApp:
    """Make the app that runs stages and sinks.

    Args:
        config: of the worker.
        stages: pure steps.
        sinks: steps that write elsewhere.
        on_stopping: called once when the worker is to stop, so that a sink need not wait any longer.

    Raises:
        TopicsError: a topic is missing or has another number of partitions.
    """
    _require_compiled_faust()
    topics = [*(stage.topic for stage in stages), *(sink.topic for sink in sinks)]
    wanted = dict.fromkeys([*topics, *(t.name for t in changelog_topics(config.app_id, stages))])
    check_topics(partition_counts(AdminClient(config.kafka.librdkafka())), wanted, config.partitions)
    app = BatchApp(config, set(topics), on_stopping)
    # Below the session time-out: who has lost its partitions no longer writes.
    outputs = Outputs(config.kafka, config.session_timeout_seconds * 0.9)

    open_table = table_opener(config, stages)
    for stage in stages:
        changelog = changelog_topic(config.app_id, stage.name)
        app.batch_agent(
            StageRunner(
                stage,
                outputs=outputs,
                open_table=open_table,
                changelog_topic=changelog,
                how_to_rebuild=config.how_to_rebuild,
            )
        )
    threads = ThreadPoolExecutor(SINK_THREADS, thread_name_prefix="sink")
    for sink in sinks:
        app.batch_agent(SinkRunner(sink, outputs=outputs, threads=threads))
    return app


def _require_compiled_faust() -> None:
    from faust import streams  # noqa: PLC0415  (heavy, and needed only here)

    if getattr(streams, "_CStreamIterator", None) is None:
        # Its pure-Python loop acknowledges messages of an old generation unprocessed.
        raise RuntimeError("Faust's compiled extension is missing; install the faust-streaming wheel")


def run_worker(app: BatchApp) -> int:
    """Run the app until SIGTERM or SIGINT.

    Returns:
        the exit code.
    """
    # A batch allocates thousands of short-lived objects; collecting rarely saves about 15 % of CPU.
    gc.set_threshold(200_000, 50, 50)
    for chatty in ("faust", "mode", "aiokafka", "streams.engine.app", "streams.engine.consumer"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    worker = app.Worker(loglevel="INFO", override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None  # for a terminal; in a log it leaves control characters
    try:
        worker.execute_from_commandline()  # ends in SystemExit
    except SystemExit as stop:
        app.has_ended()
        return stop.code if isinstance(stop.code, int) else 0
