"""What docs/events.md says of reasons and lengths, held to the code."""

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from processors.clean.facts import URL_CHARACTERS, UTM_CHARACTERS
from processors.clean.flood import FLOOD_RECORDS
from processors.clean.json_text import MAX_DEPTH
from processors.clean.read import read_event
from processors.clean.rules import MONEY_DECIMALS, MONEY_LIMIT
from processors.clean.user_agents import USER_AGENT_CHARACTERS
from processors.outcomes import MAX_CHARACTERS, MAX_ERRORS, Refusal
from processors.rates import read_rates
from streams.dead_letters import Reason
from streams.events import MAX_EVENT_BYTES, STREAM_OF_TYPE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "events.md").read_text()
ROWS = re.findall(
    r"^\| `(\w+)` \| (.*?) \|(?: `(.*)`| [^`|]*)? ?\|$", TEXT.partition("<!-- reasons -->")[2], re.MULTILINE
)
EXAMPLES = [(reason, example) for reason, _when, example in ROWS if example]


def test_the_table_has_every_reason_in_the_order_of_the_closed_list() -> None:
    assert [row[0] for row in ROWS[: len(Reason)]] == [reason.value for reason in Reason]


@pytest.mark.parametrize(("reason", "example"), EXAMPLES)
def test_an_example_of_a_reason_ends_so(reason: str, example: str) -> None:
    try:
        event_type = msgspec.json.decode(example)["event_type"]
    except (msgspec.DecodeError, TypeError):
        event_type = None
    stream = STREAM_OF_TYPE.get(event_type, "customer-events")
    rates = read_rates(ROOT / "dbt" / "seeds" / "exchange_rates.csv", "USD")
    found = read_event(stream, example.encode(), datetime(2026, 5, 4, 10, tzinfo=UTC), rates)
    assert isinstance(found, Refusal)
    assert found.reason.value == reason
    assert len(found.errors) == 1


def test_there_are_examples_of_all_reasons_that_can_be_shown() -> None:
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize(
    "number",
    [
        *(
            MAX_EVENT_BYTES,
            MAX_DEPTH,
            MAX_ERRORS,
            MAX_CHARACTERS,
            FLOOD_RECORDS,
            MONEY_DECIMALS,
            int(MONEY_LIMIT),
        ),
        *(URL_CHARACTERS, UTM_CHARACTERS, USER_AGENT_CHARACTERS),
    ],
)
def test_its_numbers_are_those_of_the_code(number: int) -> None:
    assert re.search(rf"(?<![\d,]){number:,}(?!\d|,\d)", TEXT)
