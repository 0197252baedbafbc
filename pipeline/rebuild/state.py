"""The state that a rebuild has computed, written where workers will find it."""

from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from pipeline.errors import UserError
from pipeline.rebuild.compute import Computed
from pipeline.settings import Settings
from pipeline.stages import stages_of
from pipeline.workers import engine_config
from processors.sessions.keys import CLOCK_KEY, day_key
from streams.engine.batch import Output
from streams.engine.changelog import ChangelogReader, changelog_topic, new_consumer
from streams.engine.copies import state_settings
from streams.engine.offline import partition_of
from streams.engine.publish import Entry, publish
from streams.engine.table import PartitionTable
from streams.groups import committed_offsets
from streams.silver import REVISION, Customer, Revision, SessionDay, encode_silver
from streams.topics import PROCESS_GROUP, SILVER_CUSTOMERS, SILVER_SESSIONS

EPOCH_DAY: Final = date(1970, 1, 1)
Vanished = Collection[tuple[str, date]]
"""Visitors and days that have no sessions any more."""
_decode_session_day = msgspec.json.Decoder(SessionDay).decode
_decode_customer = msgspec.json.Decoder(Customer).decode


class Revisions:
    """Revisions that correct a state that goes on: above all before, below all that will come."""

    def __init__(self, settings: Settings, computed: Computed, folder: Path) -> None:
        self._settings = settings
        self._folder = folder / "recovered"
        self._topic_of = {stage.name: stage.topic for stage in computed.stages}
        self._offsets = committed_offsets(settings.kafka, PROCESS_GROUP, set(self._topic_of.values()))
        self._epochs: dict[tuple[str, int], int] = {}
        self._settings_of = state_settings(engine_config(settings, PROCESS_GROUP), stages_of(settings))

    def of(self, stage: str, key: bytes) -> Revision:
        """Give it for a Kafka key that the stage reads."""
        return self.of_partition(stage, partition_of(key, self._settings.partitions))

    def of_partition(self, stage: str, partition: int) -> Revision:
        """Give it for a partition of the stage."""
        if (stage, partition) not in self._epochs:
            self._epochs[stage, partition] = self._epoch(stage, partition)
        offset = self._offsets[self._topic_of[stage], partition] - 1
        return Revision(self._epochs[stage, partition], max(0, offset))

    def _epoch(self, stage: str, partition: int) -> int:
        kafka = self._settings.kafka
        bounds_from = new_consumer(kafka)
        changelog = ChangelogReader(kafka, changelog_topic(PROCESS_GROUP, stage), partition, bounds_from)
        table = PartitionTable(self._folder / stage / str(partition), changelog)
        try:
            table.recover()
            if table.new_epoch is not None:
                raise UserError(
                    f"the state of {stage} has been lost, so it cannot be corrected for some visitors: "
                    f"run `pipeline rebuild` without naming any"
                )
            made_with, today = dict(table.made_with), self._settings_of[stage]
            if made_with != today:
                raise UserError(
                    f"the state of {stage} was made with other settings ({made_with}) than today's "
                    f"({today}), and visitors cannot be made by two rules: set them back, or run "
                    f"`pipeline rebuild` without naming any"
                )
            return table.epoch
        finally:
            table.close()
            bounds_from.close()


def publish_visitors(
    settings: Settings, computed: Computed, vanished: Vanished, revisions: Revisions
) -> None:
    """Publish the sessions and profiles that were computed, into a state that goes on.

    Args:
        settings: of the pipeline.
        computed: from the records of some visitors.
        vanished: days of theirs that have no sessions any more.
        revisions: for the keys.

    Raises:
        TopicsError: the brokers refuse; nothing is changed then.
    """

    def entries() -> Iterator[Entry]:
        for stage, partition, key, value in computed.engine.states():
            if stage in {"sessions", "customers"} and key != CLOCK_KEY:
                yield Entry(stage, partition, key, value, revisions.of_partition(stage, partition))
        for visitor, day in vanished:
            key = day_key(visitor, (day - EPOCH_DAY).days)
            partition = partition_of(visitor.encode(), settings.partitions)
            yield Entry("sessions", partition, key, b"", revisions.of_partition("sessions", partition))

    publish(
        settings.kafka,
        PROCESS_GROUP,
        entries(),
        expected=computed.fed,
        begun={},
        partitions=settings.partitions,
    )


def records_of_visitors(computed: Computed, vanished: Vanished, revisions: Revisions) -> Iterator[Output]:
    """Give what entity topics are to hold of some visitors."""
    for output in computed.entities():
        if output.topic == SILVER_SESSIONS:
            sessions = _decode_session_day(output.value or b"")
            revision = revisions.of("sessions", sessions.visitor_id.encode())
            value = encode_silver(msgspec.structs.replace(sessions, revision=revision))
        elif output.topic == SILVER_CUSTOMERS:
            customer = _decode_customer(output.value or b"")
            revision = revisions.of("customers", customer.customer_id.encode())
            value = encode_silver(msgspec.structs.replace(customer, revision=revision))
        else:
            continue
        yield output._replace(value=value, headers=[(REVISION, revision.to_header())])
    for visitor, day in vanished:
        yield _no_sessions(visitor, day, revisions.of("sessions", visitor.encode()))


def publish_all(settings: Settings, computed: Computed, only_stages: Collection[str] | None) -> None:
    """Publish the whole state that was computed, or that of some stages, in a new epoch.

    Args:
        settings: of the pipeline.
        computed: from all of bronze.
        only_stages: whose state; None: all.

    Raises:
        TopicsError: the brokers refuse; nothing is changed then.
    """
    revision = Revision(computed.epoch, 0)
    made_with = state_settings(engine_config(settings, PROCESS_GROUP), stages_of(settings))
    begun = {
        stage: (computed.epoch, of_stage)
        for stage, of_stage in made_with.items()
        if only_stages is None or stage in only_stages
    }
    if not begun:
        return
    entries = (
        Entry(stage, partition, key, value, revision)
        for stage, partition, key, value in computed.engine.states()
        if stage in begun
    )
    publish(
        settings.kafka,
        PROCESS_GROUP,
        entries,
        expected=computed.fed,
        begun=begun,
        partitions=settings.partitions,
    )


def records_of_all(computed: Computed, vanished: Vanished, topics: Collection[str]) -> Iterator[Output]:
    """Give what some entity topics are to hold."""
    yield from (output for output in computed.entities() if output.topic in topics)
    if SILVER_SESSIONS in topics:
        for visitor, day in vanished:
            yield _no_sessions(visitor, day, Revision(computed.epoch, 0))


def forbid_work(settings: Settings, computed: Computed) -> None:
    """Have workers refuse the state, which is gone, until the new one is published.

    Raises:
        TopicsError: the brokers refuse.
    """
    names = [stage.name for stage in computed.stages if stage.stateful]
    begun = {name: (computed.epoch - 1, {"rebuild": "unfinished"}) for name in names}
    publish(settings.kafka, PROCESS_GROUP, (), expected=0, begun=begun, partitions=settings.partitions)


def _no_sessions(visitor: str, day: date, revision: Revision) -> Output:
    value = SessionDay(visitor_id=visitor, day=day, revision=revision, sessions=[])
    key = f"{visitor}|{day}".encode()
    return Output(SILVER_SESSIONS, key, encode_silver(value), [(REVISION, revision.to_header())])
