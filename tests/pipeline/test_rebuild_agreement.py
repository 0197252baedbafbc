"""A rebuild is made with the settings that workers have, or somebody is asked."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.commands.rebuild import interruption
from pipeline.errors import UserError
from pipeline.local.platform import LocalPlatform
from pipeline.local.workers import decisive_settings, differing, note_settings, noted_settings
from pipeline.prepare import make_topics
from pipeline.rebuild.agreement import refusal, require_agreement
from pipeline.settings import Settings
from streams.engine.changelog import ChangelogError, ChangelogReader, changelog_topic, new_consumer
from streams.engine.publish import publish
from streams.topics import PROCESS_GROUP, TOPICS, TopicsError, delete_topics

SECRET = "of-the-workers"


def never(question: str) -> bool:
    pytest.fail(f"asked {question}")


def test_what_workers_were_started_with_is_compared_by_name_and_hides_the_secret(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    of_workers = Settings(home=tmp_path, session_gap_seconds=3600, email_hash_secret=SECRET)
    assert noted_settings(tmp_path) == {}
    note_settings(of_workers)
    noted = noted_settings(tmp_path)
    today = decisive_settings(Settings(home=tmp_path))
    assert differing(noted, decisive_settings(of_workers)) == []
    assert differing(noted, today) == ["session_gap_seconds", "email_hash_secret"]
    assert SECRET not in (tmp_path / "run" / "settings.json").read_text()
    said = refusal(differing(noted, today), noted, today)
    assert "have PIPELINE_SESSION_GAP_SECONDS=3600" in said
    assert "this rebuild has PIPELINE_SESSION_GAP_SECONDS=1800" in said
    assert noted["email_hash_secret"] not in said
    assert "start it again" in said


def test_an_interruption_says_whether_anything_was_changed() -> None:
    assert interruption(is_changing=False) == "interrupted: nothing was changed"
    assert "run this again" in interruption(is_changing=True)


@pytest.mark.real
def test_settings_other_than_the_running_platforms_are_refused(platform: LocalPlatform) -> None:
    make_topics(platform.settings)
    assert require_agreement(platform.settings, never, some_only=False, recreate_topics=False) is None
    other_gap = platform.settings.model_copy(update={"session_gap_seconds": 3600})
    with pytest.raises(UserError, match="PIPELINE_SESSION_GAP_SECONDS=1800, this rebuild has PIPELINE_SES"):
        require_agreement(other_gap, never, some_only=False, recreate_topics=False)
    fewer = platform.settings.model_copy(update={"partitions": 3})
    with pytest.raises(TopicsError, match="topics must have 3 partitions"):
        require_agreement(fewer, never, some_only=False, recreate_topics=False)
    afterwards = require_agreement(fewer, never, some_only=False, recreate_topics=True)
    assert "start it again with PIPELINE_PARTITIONS=3" in (afterwards or "")


def wait_for_leaders(settings: Settings) -> None:
    """Topics that were made a moment ago cannot be read yet."""
    consumer = new_consumer(settings.kafka)
    reader = ChangelogReader(settings.kafka, changelog_topic(PROCESS_GROUP, "sessions"), 0, consumer)
    for _ in range(100):
        try:
            reader.bounds()
        except ChangelogError:
            time.sleep(0.1)
        else:
            break
    consumer.close()


@pytest.mark.real
def test_another_gap_than_that_of_the_live_sessions_is_asked_for(
    new_settings: Callable[[], Settings], tmp_path: Path
) -> None:
    with LocalPlatform(new_settings()) as running:
        elsewhere = running.settings.model_copy(update={"home": tmp_path})
        make_topics(running.settings)
        wait_for_leaders(running.settings)
        asked: list[str] = []

        def agree(settings: Settings, *, some_only: bool = False) -> str | None:
            return require_agreement(
                settings, lambda said: not asked.append(said), some_only=some_only, recreate_topics=False
            )

        assert agree(elsewhere) is None  # there is no state yet
        for epoch, gap in ((5, "60"), (7, "1800"), (6, "60")):
            begun = {
                "sessions": (
                    epoch,
                    {"gap_seconds": gap, "partitions": str(running.settings.partitions), "layout": "1"},
                )
            }
            publish(
                running.settings.kafka,
                PROCESS_GROUP,
                (),
                expected=0,
                begun=begun,
                partitions=running.settings.partitions,
            )
        assert agree(elsewhere) is None
        assert asked == []
        other = elsewhere.model_copy(update={"session_gap_seconds": 3600})
        assert "start the workers with PIPELINE_SESSION_GAP_SECONDS=3600" in (agree(other) or "")
        assert "were made with PIPELINE_SESSION_GAP_SECONDS=1800" in asked[0]
        with pytest.raises(UserError, match="visitors cannot be made by two rules"):
            agree(other, some_only=True)
        delete_topics(AdminClient(running.settings.kafka.librdkafka()), [topic.name for topic in TOPICS])
        with pytest.raises(TopicsError, match="topics missing"):
            agree(elsewhere)
