"""One is not told as many."""

from collections import Counter

import pytest
from dead_letter_examples import a_letter

from pipeline.dead_letters.rehearsal import Forecast
from pipeline.dead_letters.replay import Outcome
from pipeline.dead_letters.telling import fate_text, forecast_text, outcome_text


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1, ["would become a fact", "would be a duplicate of a fact", "is a fact already"]),
        (2, ["would become facts", "would be duplicates of a fact", "are facts already"]),
    ],
)
def test_a_forecast_counts_in_words_that_fit(number: int, told: list[str]) -> None:
    lines = forecast_text(Forecast(facts=number, duplicates=number, settled=number), 3 * number).split("\n")
    assert lines[1:4] == [f"{number:>9}  {each}" for each in told]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1, ["1 was a fact already and is noted", "1 was dealt with"]),
        (2, ["2 were facts already and are noted", "2 were dealt with"]),
    ],
)
def test_an_outcome_counts_in_words_that_fit(number: int, told: list[str]) -> None:
    text = outcome_text(Outcome(sent_letters=[a_letter().identity], settled=number, gone=number))
    assert all(each in text for each in told)


def test_what_became_of_one_is_told_of_one() -> None:
    assert fate_text(1, Counter()) == "1 of them is a fact now, or a duplicate of one"
    assert fate_text(2, Counter()) == "2 of them are facts now, or duplicates of one"
