"""`pipeline dead-letters` on a real database and a real Kafka, without workers."""

import json
import multiprocessing
import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer
from dead_letter_examples import EVENT_ID, NOON, OTHER_ID, a_letter, viewed
from psycopg.types.json import Jsonb

from pipeline.cli import pipeline
from pipeline.dead_letters import store
from pipeline.dead_letters.letters import Letter
from pipeline.dead_letters.planning import Planner
from pipeline.dead_letters.replay import Outcome, replay
from pipeline.dead_letters.selection import GROUPS, Selection
from pipeline.errors import UserError
from pipeline.local.platform import LocalPlatform
from pipeline.locks import CORRECTIONS
from pipeline.prepare import make_topics
from sinks.migrate import upgrade
from sinks.roles import prepare_reader
from streams.ingest.forwarder import KafkaForwarder
from streams.ingest.messages import Message
from streams.kafka import KafkaConfig

pytestmark = pytest.mark.real

Rows = list[tuple[Any, ...]]
Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def migrated(platform: LocalPlatform) -> Iterator[str]:
    """A database of this module's own, with our tables."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(platform.postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        url = platform.postgres_url.rpartition("/")[0] + f"/{name}"
        upgrade(url)
        yield url
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def url(migrated: str) -> str:
    """A database with our tables and nothing in them that these tests look at."""
    with psycopg.connect(migrated, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bronze.of_a_day")
        connection.execute("TRUNCATE silver.dead_letters, silver.silver_product_events")
    return migrated


@pytest.fixture
def epoch() -> int:
    """Of streams that no other test has put anything on."""
    return time.time_ns() // 1_000_000


@pytest.fixture
def topics(platform: LocalPlatform) -> KafkaConfig:
    make_topics(platform.settings)
    return platform.settings.kafka


@pytest.fixture
def invoke(url: str, platform: LocalPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_POSTGRES_URL", url)
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP", platform.kafka_bootstrap)
    return lambda *arguments, **given: CliRunner().invoke(
        pipeline, ["dead-letters", *map(str, arguments)], **given
    )


def save(url: str, letters: Iterable[Letter]) -> None:
    with psycopg.connect(url) as connection:
        for letter in letters:
            values = {**vars(letter), "errors": Jsonb(letter.errors)}
            columns = ", ".join(values)
            places = ", ".join(f"%({name})s" for name in values)
            connection.execute(
                f"INSERT INTO silver.dead_letters ({columns}) VALUES ({places})".encode(), values
            )


def query(url: str, statement: str) -> Rows:
    with psycopg.connect(url, autocommit=True, options="-c TimeZone=UTC") as connection:
        return connection.execute(statement.encode()).fetchall()


def statuses(url: str) -> dict[str, str]:
    return dict(query(url, "SELECT sequence_number, status FROM silver.dead_letters"))


def on_raw_topic(kafka: KafkaConfig, epoch: int, stream: str = "product-events") -> list[Any]:
    """What stands on a raw topic of the streams of an epoch."""
    consumer = Consumer(
        {
            **kafka.librdkafka(),
            "group.id": f"test-{epoch}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    topic = f"raw.{stream}"
    waiting = len(consumer.list_topics(topic).topics[topic].partitions)
    consumer.subscribe([topic])
    found = []
    while waiting:
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            waiting -= 1
        elif dict(message.headers() or [])["kinesis_stream_epoch"] == b"%d" % epoch:
            found.append(message)
    consumer.close()
    return found


# -- which


def some(epoch: int = 1) -> list[Letter]:
    """One of each kind, and two that are alike."""
    day = timedelta(days=1)
    return [
        a_letter(stream_epoch=epoch, sequence_number="1"),
        a_letter(stream_epoch=epoch, sequence_number="2", failed_at=NOON + day, event_id=OTHER_ID),
        a_letter(stream_epoch=epoch, sequence_number="3", reason="not_json", event_type=None, event_id="odd"),
        a_letter(stream_epoch=epoch, sequence_number="4", arrived_at=NOON + day, status="exhausted"),
        a_letter(stream_epoch=epoch, sequence_number="5", stream="system-logs", event_type="log"),
        a_letter(stream_epoch=epoch, sequence_number="6", stage="sink", status="discarded"),
        a_letter(stream_epoch=epoch, sequence_number="7", status="replayed"),
    ]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), "1235674"),
        (Selection(limit=2), "12"),
        (Selection(statuses=("pending", "exhausted")), "12354"),
        (Selection(reasons=("not_json",)), "3"),
        (Selection(streams=("system-logs", "silver.sessions")), "5"),
        (Selection(types=("log",)), "5"),
        (Selection(types=("log", "(unreadable)")), "35"),
        (Selection(stages=("sink",)), "6"),
        (Selection(since=NOON + timedelta(seconds=1)), "4"),
        (Selection(until=NOON), ""),
        (Selection(until=NOON + timedelta(seconds=1), statuses=("replayed",)), "7"),
        (Selection(failed_since=NOON + timedelta(hours=1)), "2"),
        (Selection(event_id="odd"), "3"),
        (Selection(identities=(some()[1].identity, some()[4].identity)), "25"),
        (Selection(identities=(some()[1].identity,), statuses=("exhausted",)), ""),
    ],
)
def test_each_filter_selects_what_it_says_and_all_must_hold(
    url: str, selection: Selection, expected: str
) -> None:
    save(url, some())
    with store.connect(url) as connection:
        found = store.letters(connection, selection)
        assert "".join(sorted(letter.sequence_number for letter in found)) == "".join(sorted(expected))
        assert [letter.identity for letter in found] == store.identities(connection, selection)
        assert store.count(connection, selection) == len(expected)
        assert found == sorted(found, key=lambda letter: letter.arrived_at)


@pytest.mark.parametrize("by", GROUPS)
def test_letters_are_counted_by_what_was_asked_with_the_last_to_fail_as_example(url: str, by: str) -> None:
    save(url, some())
    with store.connect(url) as connection:
        groups = store.groups(connection, Selection(), by)
        assert sum(group.letters for group in groups) == 7
        assert [group.letters for group in groups] == sorted((g.letters for g in groups), reverse=True)
        largest = groups[0]
        if by == "reason":
            assert (largest.name, largest.letters, largest.pending, largest.exhausted) == (
                "missing_field",
                6,
                3,
                1,
            )
            assert largest.example.sequence_number == "2"
            assert largest.error == "$.anonymous_id: this or customer_id is required"
            assert largest.last_arrived_at == NOON + timedelta(days=1)


def test_the_list_is_of_what_is_open_and_for_programs_too(url: str, invoke: Invoke) -> None:
    assert invoke("list").stdout == "there are no dead letters\n"
    save(url, some())
    table = invoke("list").stdout
    assert "missing_field" in table
    assert "pipeline dead-letters show product-events/1/shardId-0/2/0" in table
    counted = json.loads(invoke("list", "--json").stdout)
    assert counted["letters"] == 5
    assert [group["letters"] for group in counted["groups"]] == [4, 1]
    rows = json.loads(invoke("list", "--rows", "--limit", 2, "--json").stdout)
    assert (rows["total"], len(rows["letters"])) == (5, 2)
    assert "5 of 5 dead letters\n" in invoke("list", "--rows").stdout
    unreadable = invoke("list", "--rows", "--type", "(unreadable)").stdout
    assert "\n  odd, arrived 2026-03-01 12:00:00.000 UTC, failed 1 time\n1 of 1 dead letter\n" in unreadable
    assert json.loads(invoke("list", "--status", "all", "--by", "day", "--json").stdout)["letters"] == 7


def test_one_letter_is_shown_with_its_payload(url: str, invoke: Invoke) -> None:
    save(url, some())
    done = invoke("show", some()[0].identity)
    assert done.exit_code == 0
    assert "← this or customer_id is required" in done.stdout
    assert invoke("show", some()[0].identity, "--raw").stdout_bytes == viewed(anonymous_id=None)
    assert json.loads(invoke("show", "--event-id", "odd", "--json").stdout)["reason"] == "not_json"
    assert invoke("show", "nonsense").exit_code == 2
    assert invoke("show", "product-events/1/shardId-0/1/1_0").exit_code == 2


def test_of_many_letters_one_is_shown_and_it_is_said_how_many_there_are(url: str, invoke: Invoke) -> None:
    save(url, some())
    assert "\n1 of 5 that are selected, the oldest first; --limit 5 shows all\n" in invoke("show").stdout
    for one_line in ("--json", "--raw"):
        done = invoke("show", "--reason", "missing_field", "--limit", 2, one_line)
        assert "2 of 4 that are selected" in done.stderr
        assert "selected" not in done.stdout
    assert "selected" not in invoke("show", "--limit", 5).output
    assert "selected" not in invoke("show", some()[0].identity, some()[1].identity).output


# -- names of what is not there


COMMANDS = ("list", "show", "replay", "discard")


def test_an_empty_table_is_said_to_be_empty(url: str, invoke: Invoke) -> None:
    assert str(invoke("show").exception) == "there are no dead letters"
    assert invoke("list", "--type", "log").stdout == "there are no dead letters\n"
    assert "there are none at all" in str(invoke("show", some()[0].identity).exception)
    save(url, some())
    assert invoke("list", "--since", "2030-01-01").stdout.startswith(
        "no dead letters are selected; there are"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_letter_that_is_named_and_not_there_is_refused_before_anything_is_done(
    url: str, invoke: Invoke, command: str
) -> None:
    save(url, some())
    for named in (
        ("product-events/1/shardId-0/99/0",),
        (some()[0].identity, "product-events/1/shardId-0/99/0", "product-events/1/shardId-0/98/0"),
        ("--event-id", "of-nobody"),
    ):
        done = invoke(command, *named)
        assert done.exit_code == 1
        assert re.match(r"(there is )?no dead letter ", str(done.exception))
    assert statuses(url)["1"] == "pending"


@pytest.mark.parametrize("command", COMMANDS)
def test_streams_are_a_closed_list_and_types_are_those_of_events_or_of_letters(
    url: str, invoke: Invoke, command: str
) -> None:
    save(url, [*some(), a_letter(sequence_number="8", event_type="of_theirs")])
    nonsense = invoke(command, "--stream", "nonsense")
    assert nonsense.exit_code == 2
    assert "'system-logs'" in nonsense.stderr
    unknown = invoke(command, "--type", "nonsense").exception
    assert isinstance(unknown, UserError)
    assert unknown.exit_code == 2
    assert str(unknown) == (
        "no dead letter has the type 'nonsense', and no event either; "
        "types there are: page_viewed, log, of_theirs"
    )
    assert invoke("list", "--stream", "silver.sessions", "--type", "signup").exit_code == 0
    assert json.loads(invoke("show", "--type", "of_theirs", "--json").stdout)["event_type"] == "of_theirs"


def test_an_event_id_is_found_however_it_is_spelled(url: str, invoke: Invoke) -> None:
    save(url, [a_letter(event_id=EVENT_ID), a_letter(sequence_number="2", event_id=EVENT_ID.upper())])
    spelled = json.loads(invoke("list", "--event-id", EVENT_ID.upper(), "--json").stdout)
    assert spelled["letters"] == 2


def test_a_payload_that_the_letter_lacks_is_read_from_bronze(url: str, invoke: Invoke) -> None:
    save(url, [a_letter(payload=None)])
    assert "no payload is kept" in invoke("show").stdout
    _into_bronze(url, '{ "in":  "bronze" }')
    assert invoke("show", "--raw").stdout == '{ "in":  "bronze" }'


def _into_bronze(url: str, payload: str) -> None:
    letter = a_letter()
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE bronze.of_a_day PARTITION OF bronze.bronze_product_events "
            "FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00')"
        )
        connection.execute(
            "INSERT INTO bronze.bronze_product_events (arrived_at, stream_epoch, shard, sequence_number, "
            "sub_sequence_number, partition_key, payload) VALUES (%s, %s, %s, %s, %s, 'key', %s)",
            (letter.arrived_at, *letter.identity[1:], payload),
        )


def test_a_role_of_readers_is_told_that_letters_are_the_operators(
    url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, unique: Callable[[str], str]
) -> None:
    role = unique("reader").replace(".", "_")
    prepare_reader(url, role)
    try:
        monkeypatch.setenv("PIPELINE_POSTGRES_URL", f"{url}?options=-c%20role%3D{role}")
        for command in ("list", "show", "replay", "discard"):
            done = invoke(command)
            assert done.exit_code == 1
            assert "operator's role" in str(done.exception)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {role}".encode())
            connection.execute(f"DROP ROLE {role}".encode())


# -- discarding


def test_discarding_closes_what_is_open_and_nothing_else(url: str, invoke: Invoke) -> None:
    save(url, some())
    assert json.loads(invoke("discard", "--reason", "missing_field", "--json").stdout) == {"discarded": 3}
    assert statuses(url) == {
        **dict.fromkeys("1256", "discarded"),
        "3": "pending",
        "4": "exhausted",
        "7": "replayed",
    }
    assert invoke("discard", some()[3].identity).stdout == "1 dead letter discarded\n"
    assert invoke("discard", some()[6].identity, "--status", "all", "--yes").stdout == (
        "0 dead letters discarded\n1 is left as it is: replayed or discarded already\n"
    )
    assert statuses(url)["7"] == "replayed"
    assert invoke("discard", some()[6].identity).stdout == (
        "nothing to discard: no open dead letter is selected; 1 is replayed\n"
    )
    assert invoke("discard", some()[0].identity).stdout == (
        "nothing to discard: no open dead letter is selected; 1 is discarded\n"
    )
    assert json.loads(invoke("discard", some()[0].identity, "--json").stdout) == {"discarded": 0}


def test_during_a_rebuild_or_another_replay_letters_are_left_alone(url: str, invoke: Invoke) -> None:
    save(url, some())
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (CORRECTIONS,))
        waiting = ThreadPoolExecutor(1).submit(invoke, "discard", "--reason", "not_json")
        time.sleep(1)
        assert not waiting.done()
        assert statuses(url)["3"] == "pending"
    done = waiting.result(30)
    assert "waiting for it" in done.stderr
    assert statuses(url)["3"] == "discarded"


# -- replaying


def test_many_letters_are_touched_only_after_a_question(
    url: str, invoke: Invoke, topics: KafkaConfig
) -> None:
    assert topics.bootstrap
    save(url, [a_letter(sequence_number=str(number)) for number in range(11)])
    for command in ("replay", "discard"):
        done = invoke(command)
        assert done.exit_code == 1
        assert "--yes" in str(done.exception)
    assert set(statuses(url).values()) == {"pending"}


def test_a_replay_is_sent_once_noted_and_then_nothing_is_left_to_do(
    url: str, invoke: Invoke, topics: KafkaConfig, epoch: int
) -> None:
    save(url, [a_letter(stream_epoch=epoch, sequence_number=str(number)) for number in range(30)])
    first = invoke("replay", "--patch", '{"anonymous_id": "v-2"}', "--json")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["sent"] == json.loads(first.stdout)["corrected"] == 30
    again = invoke("replay", "--patch", '{"anonymous_id": "v-2"}', "--json")
    assert json.loads(again.stdout) == {"selected": 0}
    assert "nothing to replay" in invoke("replay").stdout
    named = f"product-events/{epoch}/shardId-0/1/0"
    assert invoke("replay", named).stdout == (
        "nothing to replay: no open dead letter is selected; 1 is replayed, which --status replayed selects\n"
    )
    records = on_raw_topic(topics, epoch)
    assert len(records) == 30
    assert {record.key() for record in records} == {b"v-2"}
    assert {dict(record.headers())["attempt"] for record in records} == {b"1"}
    assert query(
        url,
        "SELECT DISTINCT status, attempt, convert_from(replayed_payload, 'UTF8')::json ->> 'anonymous_id', "
        "payload = replayed_payload FROM silver.dead_letters",
    ) == [("replayed", 0, "v-2", False)]


def test_letters_that_cannot_be_sent_are_named_and_the_rest_is_sent(
    url: str, invoke: Invoke, topics: KafkaConfig, epoch: int, tmp_path: Path
) -> None:
    save(
        url,
        [
            a_letter(stream_epoch=epoch, sequence_number="1"),
            a_letter(stream_epoch=epoch, sequence_number="2", payload=b"{", reason="not_json"),
            a_letter(stream_epoch=epoch, sequence_number="3", stream="silver.sessions", stage="sink"),
        ],
    )
    patch = tmp_path / "patch.json"
    patch.write_text('[{"op": "add", "path": "/anonymous_id", "value": "v-3"}]')
    done = invoke("replay", "--patch", patch)
    assert done.exit_code == 1
    assert "1 sent again (1 to raw.product-events), 1 corrected" in done.stdout
    assert "/2/0: the payload is no JSON" in done.stdout
    assert "/3/0: it is a record of the topic silver.sessions" in done.stdout
    assert statuses(url) == {"1": "replayed", "2": "pending", "3": "pending"}
    assert len(on_raw_topic(topics, epoch)) == 1
    assert invoke("replay", "--patch", tmp_path / "none.json").exit_code == 2


def test_exhausted_letters_are_replayed_when_they_are_asked_for_or_named(
    url: str, invoke: Invoke, topics: KafkaConfig, epoch: int
) -> None:
    letters = [
        a_letter(stream_epoch=epoch, sequence_number=number, status="exhausted", attempt=1) for number in "12"
    ]
    save(url, letters)
    assert "2 are exhausted" in invoke("replay").stdout
    assert "1 sent again" in invoke("replay", letters[0].identity).stdout
    assert "1 sent again" in invoke("replay", "--status", "exhausted").stdout
    assert {dict(r.headers())["attempt"] for r in on_raw_topic(topics, epoch)} == {b"2"}


def test_a_letter_that_failed_again_before_it_was_noted_stays_as_it_is(
    url: str, topics: KafkaConfig, epoch: int
) -> None:
    letter = a_letter(stream_epoch=epoch)
    save(url, [letter])
    fail_again = "UPDATE silver.dead_letters SET attempt = 1, status = 'exhausted' RETURNING 1"

    class FailsAtOnce(KafkaForwarder):
        def forward(self, messages: Iterable[Message]) -> None:
            super().forward(messages)
            query(url, fail_again)

    with store.connect(url) as connection:
        outcome = Outcome()
        replay(connection, FailsAtOnce(topics), [letter.identity], Planner(), statuses=(), outcome=outcome)
    assert outcome.sent == 1
    assert query(url, "SELECT status, attempt FROM silver.dead_letters") == [("exhausted", 1)]


class KilledAfterSending(KafkaForwarder):
    def forward(self, messages: Iterable[Message]) -> None:
        super().forward(messages)
        os.kill(os.getpid(), signal.SIGKILL)


def replay_and_die(url: str, kafka: KafkaConfig, letter: Letter) -> None:
    with store.connect(url) as connection:
        replay(
            connection,
            KilledAfterSending(kafka),
            [letter.identity],
            Planner(),
            statuses=(),
            outcome=Outcome(),
        )


def test_killed_between_sending_and_noting_the_next_replay_sends_the_very_same_again(
    url: str, invoke: Invoke, topics: KafkaConfig, epoch: int
) -> None:
    letter = a_letter(stream_epoch=epoch)
    save(url, [letter])
    child = multiprocessing.get_context("spawn").Process(target=replay_and_die, args=(url, topics, letter))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert statuses(url) == {"1": "pending"}
    assert "1 sent again" in invoke("replay").stdout
    first, second = on_raw_topic(topics, epoch)
    assert (first.key(), first.value(), first.headers()) == (second.key(), second.value(), second.headers())


def test_a_letter_whose_fact_is_there_is_noted_and_not_sent(
    url: str, invoke: Invoke, topics: KafkaConfig, epoch: int
) -> None:
    letter = a_letter(stream_epoch=epoch)
    save(url, [letter])
    query(
        url,
        f"""
        INSERT INTO silver.silver_product_events (
            event_id, content_hash, occurred_at, arrived_at, event_type,
            stream, stream_epoch, shard, sequence_number, sub_sequence_number
        ) VALUES (
            '{EVENT_ID}', 1, now(), now(), 'page_viewed', 'product-events', {epoch}, 'shardId-0', '1', 0
        )
        RETURNING 1
        """,
    )
    assert "1 was a fact already and is noted as replayed" in invoke("replay").stdout
    assert statuses(url) == {"1": "replayed"}
    assert on_raw_topic(topics, epoch) == []


def test_two_operators_at_once_send_each_letter_once(url: str, topics: KafkaConfig, epoch: int) -> None:
    letters = [a_letter(stream_epoch=epoch, sequence_number=str(number)) for number in range(1200)]
    save(url, letters)
    outcomes = [Outcome(), Outcome()]

    def operate(outcome: Outcome) -> None:
        with store.connect(url) as connection:
            chosen = store.identities(connection, Selection(statuses=("pending",)))
            both_have_chosen.wait(30)
            replay(
                connection,
                KafkaForwarder(topics),
                chosen,
                Planner(),
                statuses=("pending",),
                outcome=outcome,
            )

    both_have_chosen = threading.Barrier(2)
    threads = [threading.Thread(target=operate, args=(outcome,)) for outcome in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted((outcome.sent, outcome.gone) for outcome in outcomes) == [(0, 1200), (1200, 0)]
    assert len(on_raw_topic(topics, epoch)) == 1200


def test_a_replay_that_is_asked_to_stop_ends_between_two_chunks(
    url: str, topics: KafkaConfig, epoch: int
) -> None:
    save(url, [a_letter(stream_epoch=epoch, sequence_number=str(number)) for number in range(700)])
    outcome, done = Outcome(), 0

    def note(letters: int) -> None:
        nonlocal done
        done += letters

    with store.connect(url) as connection:
        replay(
            connection,
            KafkaForwarder(topics),
            store.identities(connection, Selection()),
            Planner(),
            statuses=("pending",),
            outcome=outcome,
            progress=note,
            is_stopped=lambda: done > 0,
        )
    assert (outcome.stopped, outcome.sent, done) == (True, 500, 500)
    assert sorted(statuses(url).values()).count("replayed") == 500


def test_kafka_that_is_away_is_one_line_and_nothing_is_noted(
    url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(url, [a_letter()])
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    done = invoke("replay")
    assert done.exit_code == 1
    assert "Kafka does not answer" in str(done.exception)
    assert statuses(url) == {"1": "pending"}


# -- a dry run


def test_a_dry_run_tells_by_the_real_rules_what_would_happen_and_touches_nothing(
    url: str, invoke: Invoke, topics: KafkaConfig, epoch: int
) -> None:
    conflict = a_letter(
        stream_epoch=epoch, sequence_number="5", reason="conflicting_event_id", payload=viewed(), stage="sink"
    )
    fixed = viewed(event_id=OTHER_ID)
    save(
        url,
        [
            a_letter(stream_epoch=epoch, sequence_number="1"),
            a_letter(stream_epoch=epoch, sequence_number="2", payload=fixed),
            a_letter(stream_epoch=epoch, sequence_number="3", payload=fixed),
            a_letter(
                stream_epoch=epoch,
                sequence_number="4",
                payload=viewed(event_id=OTHER_ID, page=1, anonymous_id="x"),
            ),
            conflict,
        ],
    )
    before = query(url, "SELECT * FROM silver.dead_letters ORDER BY 4")
    done = invoke("replay", "--dry-run", "--json")
    assert done.exit_code == 1
    forecast = json.loads(done.stdout)
    assert (forecast["facts"], forecast["duplicates"]) == (1, 1)
    assert {f["reason"]: f["letters"] for f in forecast["failing"]} == {
        "missing_field": 1,
        "conflicting_event_id": 1,
    }
    assert forecast["failing"][0]["example"]["error"]
    assert [r["identity"] for r in forecast["refused"]] == [str(conflict.identity)]
    text = invoke("replay", "--dry-run").stdout
    assert "5 dead letters selected" in text
    assert "nothing was touched" in text
    clear = invoke("replay", conflict.identity, "--new-event-id", "--dry-run")
    assert clear.exit_code == 0
    assert "1  would become a fact" in clear.stdout
    assert "sessions may have counted 1 of them under the event_id they came with" in clear.stdout
    assert query(url, "SELECT * FROM silver.dead_letters ORDER BY 4") == before
    assert on_raw_topic(topics, epoch) == []


def test_a_dry_run_tells_that_an_event_which_came_twice_under_a_taken_id_is_one(
    url: str, invoke: Invoke
) -> None:
    conflict = {"reason": "conflicting_event_id", "stage": "sink"}
    save(
        url,
        [
            a_letter(sequence_number="1", payload=viewed(), **conflict),
            a_letter(sequence_number="2", payload=viewed(unknown="spelled otherwise"), **conflict),
        ],
    )
    done = invoke("replay", "--new-event-id", "--dry-run", "--json")
    assert done.exit_code == 0
    assert [json.loads(done.stdout)[name] for name in ("selected", "facts", "duplicates")] == [2, 1, 1]
