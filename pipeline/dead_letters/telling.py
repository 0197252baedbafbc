"""What a replay did, or would do, in words and as JSON. Pure."""

import json
from collections import Counter
from typing import Final

from pipeline.dead_letters.planning import Refused
from pipeline.dead_letters.rehearsal import Forecast
from pipeline.dead_letters.replay import Outcome

MOST_REFUSALS: Final = 20
"""Letters that cannot be sent are named, but no more than these."""

Fates = Counter[tuple[str, str]]
"""How many letters failed again, by reason and status."""


def outcome_text(outcome: Outcome) -> str:
    """Tell what was done."""
    topics = ", ".join(f"{count} to {topic}" for topic, count in sorted(outcome.topics.items()))
    lines = ["stopped before the end"] if outcome.stopped else []
    lines.append(
        f"{outcome.sent} sent again{f' ({topics})' if topics else ''}, {outcome.corrected} corrected"
    )
    if outcome.settled:
        were = "was a fact already and is" if outcome.settled == 1 else "were facts already and are"
        lines.append(f"{outcome.settled} {were} noted as replayed")
    if outcome.gone:
        lines.append(
            f"{outcome.gone} {'was' if outcome.gone == 1 else 'were'} dealt with by someone else meanwhile"
        )
    lines += _counted_before(outcome.counted_before)
    lines += _refusals(outcome.refused)
    return "\n".join(lines)


def fate_text(sent: int, again: Fates | None) -> str:
    """Tell what became of what was sent; None: nobody has waited for it."""
    if again is None:
        return "see what became of them: `pipeline status --wait-idle`, then `pipeline dead-letters list`"
    through = sent - again.total()
    are = "is a fact now, or a duplicate of one" if through == 1 else "are facts now, or duplicates of one"
    lines = [f"{through} of them {are}"]
    lines += [f"{count} failed again: {reason}, {status}" for (reason, status), count in again.most_common()]
    return "\n".join(lines)


def forecast_text(forecast: Forecast, selected: int) -> str:
    """Tell what would happen."""
    lines = [
        f"{selected} dead letter{'s' * (selected != 1)} selected; by the rules and tables as they are now"
    ]
    counts = [
        (forecast.facts, "would become facts", "would become a fact"),
        (forecast.duplicates, "would be duplicates of a fact", "would be a duplicate of a fact"),
        (forecast.settled, "are facts already", "is a fact already"),
        (forecast.failing.total(), "would fail again", "would fail again"),
        (len(forecast.refused), "cannot be sent", "cannot be sent"),
    ]
    lines += [f"{count:>9}  {one if count == 1 else many}" for count, many, one in counts if count]
    for reason, count in forecast.failing.most_common():
        example = forecast.examples[reason]
        lines += [f"{count:>9}  {reason}, for example {example.error}", f"{'':>11}{example.identity}"]
    lines += [*_counted_before(forecast.counted_before), *_refusals(forecast.refused)]
    return "\n".join([*lines, "nothing was touched"])


def _counted_before(letters: int) -> list[str]:
    if not letters:
        return []
    told = (
        f"sessions may have counted {letters} of them under the event_id they came with, before they were "
        f"refused, and then count them twice until a rebuild: `pipeline verify` says so and names the command"
    )
    return [told]


def _refusals(refused: list[Refused]) -> list[str]:
    if not refused:
        return []
    lines = [f"{len(refused)} cannot be sent:"]
    lines += [f"  {letter.identity}: {why}" for letter, why in refused[:MOST_REFUSALS]]
    more = len(refused) - MOST_REFUSALS
    return [*lines, f"  and {more} more: --json has them all"] if more > 0 else lines


def outcome_json(outcome: Outcome, selected: int, again: Fates | None) -> str:
    """Give an outcome as JSON; `failed_again` is null if nobody has waited for it."""
    fates = [{"reason": r, "status": s, "letters": n} for (r, s), n in (again or {}).items()]
    return json.dumps(
        {
            "selected": selected,
            "sent": outcome.sent,
            "corrected": outcome.corrected,
            "settled": outcome.settled,
            "counted_before": outcome.counted_before,
            "gone": outcome.gone,
            "topics": outcome.topics,
            "refused": _refused_json(outcome.refused),
            "stopped": outcome.stopped,
            "failed_again": None if again is None else fates,
        },
        ensure_ascii=False,
    )


def forecast_json(forecast: Forecast, selected: int) -> str:
    """Give a forecast as JSON."""
    return json.dumps(
        {
            "selected": selected,
            "facts": forecast.facts,
            "duplicates": forecast.duplicates,
            "settled": forecast.settled,
            "counted_before": forecast.counted_before,
            "failing": [
                {
                    "reason": reason,
                    "letters": count,
                    "example": {
                        "identity": str(forecast.examples[reason].identity),
                        "error": forecast.examples[reason].error,
                    },
                }
                for reason, count in forecast.failing.most_common()
            ],
            "refused": _refused_json(forecast.refused),
        },
        ensure_ascii=False,
    )


def _refused_json(refused: list[Refused]) -> list[dict[str, str]]:
    return [{"identity": str(letter.identity), "why": why} for letter, why in refused]
