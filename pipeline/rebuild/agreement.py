"""Whether workers would go on with what a rebuild makes: it has to be made with the settings they have."""

from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka.admin import AdminClient

from pipeline.errors import CONFIGURATION, UserError
from pipeline.local.attached import attached_supervisor
from pipeline.local.workers import PARTITIONS, decisive_settings, differing, noted_settings, variable
from pipeline.settings import Settings
from pipeline.stages import changelogs
from streams.engine.changelog import ChangelogError, ChangelogReader, changelog_topic, new_consumer
from streams.engine.table import EPOCH_KEY, settings_of_epoch
from streams.topics import PROCESS_GROUP, TOPICS, check_topics, partition_counts

SESSIONS: Final = "sessions"
OF_STATE: Final = {
    "gap_seconds": "session_gap_seconds",
    PARTITIONS: PARTITIONS,
    "base_currency": "base_currency",
}
"""What an epoch's record calls the settings that the state of sessions depends on, and what we call them."""


def require_agreement(
    settings: Settings, confirm: Callable[[str], bool], *, some_only: bool, recreate_topics: bool
) -> str | None:
    """Refuse, or ask, when the workers or the live state have other settings than this rebuild.

    Args:
        settings: of the rebuild.
        confirm: asks whether to go on; raises if not.
        some_only: only some visitors are rebuilt, into a state that goes on.
        recreate_topics: they get the number of partitions of today.

    Returns:
        what is to be done with the workers afterwards, None if they go on by themselves.

    Raises:
        UserError: workers of the local platform have other settings, or visitors cannot be made by two rules.
        TopicsError: the topics have another number of partitions, or there are none.
    """
    today = decisive_settings(settings)
    attached = attached_supervisor(settings) is not None
    noted = noted_settings(settings.home) if attached else {}
    if noted and not differing(noted, today):
        return None  # its workers have looked at the topics
    if not recreate_topics:
        names = [topic.name for topic in (*TOPICS, *changelogs(settings))]
        check_topics(partition_counts(AdminClient(settings.kafka.librdkafka())), names, settings.partitions)
    if attached:
        other = differing(noted, today)
        told = [name for name in other if not (recreate_topics and name == PARTITIONS)]
        if told:
            raise UserError(refusal(told, noted, today), exit_code=CONFIGURATION)
        return start_again(today) if other else None
    state = {} if recreate_topics else _of_state(settings)
    other = differing(state, today)
    if other and some_only:
        raise UserError(
            f"the sessions that are there were made with {shown(other, state)}, today's setting is "
            f"{shown(other, today)}, and visitors cannot be made by two rules: set it back, or run "
            f"`pipeline rebuild` without naming any",
            exit_code=CONFIGURATION,
        )
    if other:
        confirm(
            f"The sessions that are there were made with {shown(other, state)}, this makes all of them with "
            f"{shown(other, today)}, and workers with another value refuse them. Go on?"
        )
        return f"start the workers with {shown(other, today)}: with another value they refuse the state"
    return None


def refusal(names: list[str], of_workers: Mapping[str, str], today: Mapping[str, str]) -> str:
    """Say that workers would not go on, or otherwise than before, and what to do first."""
    return (
        f"the workers of the running platform have {shown(names, of_workers)}, this rebuild has "
        f"{shown(names, today)}: they would not go on with what it makes. Stop `pipeline up`, start it again "
        f"with the same settings as this rebuild, and run this again"
    )


def start_again(today: Mapping[str, str]) -> str:
    """Say that the platform has to follow the topics."""
    return (
        f"stop `pipeline up` and start it again with {shown([PARTITIONS], today)}: until then its workers "
        f"refuse the topics"
    )


def shown(names: list[str], values: Mapping[str, str]) -> str:
    """Give settings as the environment has them, secrets hidden."""
    hidden = {"email_hash_secret": "another secret"}
    return ", ".join(f"{variable(name)}={hidden.get(name, values[name])}" for name in names)


def _of_state(settings: Settings) -> dict[str, str]:
    """Give what the sessions that are there were made with, by our names; empty if nothing says so."""
    bounds_from = new_consumer(settings.kafka)
    topic = changelog_topic(PROCESS_GROUP, SESSIONS)
    reader = ChangelogReader(settings.kafka, topic, 0, bounds_from)
    newest = b""
    try:
        for chunk in reader.read(reader.bounds()[0]):
            # Packed revisions compare as bytes.
            newest = max([newest, *(packed for key, packed in chunk.changes if key == EPOCH_KEY and packed)])
    except ChangelogError as error:
        raise UserError(f"what the state was made with cannot be read: {error}") from error
    finally:
        bounds_from.close()
    found = settings_of_epoch(newest) if newest else {}
    return {ours: found[theirs] for theirs, ours in OF_STATE.items() if theirs in found}
