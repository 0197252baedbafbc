"""A trace told: what became of an event, when it was where, and why. Pure."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from pipeline.dead_letters.letters import Letter
from pipeline.dead_letters.new_ids import new_event_id
from pipeline.dead_letters.patching import UnfitError
from pipeline.dead_letters.show import instant, summary
from pipeline.trace.findings import Arrival, Fact, Trace
from streams.dead_letters import Reason
from streams.events import STREAMS, Stream

CONFLICT = Reason.CONFLICTING_EVENT_ID
MOST_ERRORS = 10
"""Errors of a dead letter that are told; `dead-letters show` has all."""
HOPS = {"ingest": "on Kafka, its raw topic", "clean": "cleaned, on a clean topic"}
"""Samples that no row tells of by itself."""


class Step(NamedTuple):
    """Something that happened to the event."""

    at: datetime
    what: str
    details: tuple[str, ...] = ()


def role_of(trace: Trace, arrival: Arrival) -> str:
    """Give the one thing a record in bronze is: a fact's row, a duplicate, a dead letter, or on its way."""
    letter = trace.letter_of(arrival.identity)
    own = next((fact for fact in trace.facts if fact.identity == arrival.identity), None)
    of_id = next((fact for fact in trace.facts if fact.event_id == arrival.event_id), None)
    if letter is not None and letter.status == "replayed":
        if own is not None:
            return "a replayed dead letter that became the fact"
        duplicate = any(fact.event_id == letter.event_id for fact in trace.facts)
        return (
            "a replayed dead letter, a duplicate of the fact"
            if duplicate
            else "a dead letter on its way again"
        )
    if letter is not None:
        return f"a dead letter, {letter.status}: {letter.reason}"
    if own is not None:
        return "the row that the fact came from"
    return "a duplicate of the fact" if of_id is not None else "on its way: not in silver yet"


def verdict(trace: Trace) -> str:
    """Say in a line where the event is, or the record if one was asked for."""
    asked = next((letter for letter in trace.letters if str(letter.identity) == trace.asked), None)
    if asked is not None and asked.status != "replayed" and trace.facts:
        return f"{_refused(asked)}; another record with its event_id is a fact, in {trace.facts[0].table}"
    if trace.facts:
        fact = trace.facts[0]
        others = [letter for letter in trace.letters if _is_other_content(trace, letter, fact)]
        repeats = sum(role_of(trace, arrival) == "a duplicate of the fact" for arrival in trace.arrivals)
        more = [f"{repeats} duplicate{'s' * (repeats > 1)} of it arrived"] if repeats else []
        contents = len({_content_of(letter) for letter in others})
        if others:
            records = f", in {len(others)} records" * (len(others) > contents)
            more.append(f"{contents} other content{'s' * (contents > 1)} came under its id{records}")
        own = trace.letter_of(fact.identity)
        came_under = trace.id_it_came_under(fact.identity)
        if came_under not in (None, fact.event_id):
            taken = ", which another event has" * (own is not None and own.reason == CONFLICT)
            more.append(f"it came under the id {came_under}{taken}")
        of_others = {letter.identity for letter in others}
        named = "one of these" if contents > 1 else "the other content"
        more += [
            f"{named if other.identity in of_others else 'another record of it'} is a fact "
            f"under the id {other.event_id}, in {other.table}"
            for other in trace.facts
            if other.event_id not in (fact.event_id, came_under)
        ]
        return f"a fact, in {fact.table}" + "".join(f"; {part}" for part in more)
    if trace.letters:
        letter = trace.letters[-1]
        if letter.status == "replayed":
            return "a dead letter that was sent again and is on its way: see `pipeline status`"
        return _refused(letter)
    return "on its way: in bronze, and not in silver yet (see `pipeline status`)"


def _refused(letter: Letter) -> str:
    return f"a dead letter, {letter.status}: {letter.reason} ({letter.errors_in_short})"


def _is_other_content(trace: Trace, letter: Letter, fact: Fact) -> bool:
    """Tell whether a letter is a record that came under a fact's id with another content."""
    if letter.reason != CONFLICT or letter.identity == fact.identity:
        return False
    return trace.id_it_came_under(letter.identity) in (fact.event_id, None)


def _content_of(letter: Letter) -> str:
    """Give what is equal for letters that came with the same id and the same content."""
    if letter.stream not in STREAMS:
        return str(letter.identity)
    try:
        return new_event_id(cast("Stream", letter.stream), letter.payload or b"")
    except UnfitError:
        return str(letter.identity)


def as_text(trace: Trace) -> str:
    """Give the trace as people read it."""
    first = trace.facts[0] if trace.facts else (trace.arrivals + trace.letters)[0]
    occurred = f", occurred {instant(first.occurred_at)}" if first.occurred_at else ""
    lines = [f"{first.event_type or '(unreadable)'} {first.event_id or trace.asked}{occurred}"]
    lines += [f"  is {verdict(trace)}", "", "what happened"]
    steps = sorted(_steps(trace))
    for step in steps:
        when = f"  {instant(step.at)}  {_after(steps[0].at, step.at):>10}  "
        lines += [when + step.what, *(" " * (len(when) + 2) + detail for detail in step.details)]
    if trace.arrivals:
        lines += ["", "records of it in bronze"]
        lines += [f"  {arrival.identity}\n    {role_of(trace, arrival)}" for arrival in trace.arrivals]
    lines += ["", *_consequences(trace)] if trace.facts else []
    lines += [f"see it with: pipeline dead-letters show {letter.identity}" for letter in trace.letters]
    return "\n".join(lines)


def as_values(trace: Trace) -> dict[str, Any]:
    """Give the trace as JSON has it; instants in ISO 8601, amounts as text."""
    return {
        "asked": trace.asked,
        "verdict": verdict(trace),
        "arrivals": [
            {**asdict(arrival), "identity": str(arrival.identity), "is": role_of(trace, arrival)}
            for arrival in trace.arrivals
        ],
        "dead_letters": [{**summary(letter), "errors": letter.errors} for letter in trace.letters],
        "facts": [{**asdict(fact), "identity": str(fact.identity)} for fact in trace.facts],
        "session": asdict(trace.session) if trace.session else None,
        "late": [asdict(late) for late in trace.late],
        "links": [asdict(link) for link in trace.links],
        "gold": asdict(trace.gold),
        "hops": [asdict(hop) for hop in trace.hops],
    }


def _steps(trace: Trace) -> Iterator[Step]:
    for arrival in trace.arrivals:
        yield Step(
            arrival.arrived_at, f"arrived on Kinesis: {arrival.identity.stream} {arrival.identity.shard}"
        )
        yield Step(arrival.loaded_at, f"in {arrival.table}")
    known = {arrival.identity for arrival in trace.arrivals}
    for letter in trace.letters:
        if letter.identity not in known:
            yield Step(letter.arrived_at, f"arrived: {letter.identity}, which bronze does not have")
        yield from _letter_steps(letter)
    for fact in trace.facts:
        under = f" as {fact.event_id}" if fact.event_id != trace.facts[0].event_id else ""
        yield Step(fact.loaded_at, f"in {fact.table}{under}")
    for late in trace.late:
        yield Step(
            late.loaded_at,
            f"in the late ledger: {late.lateness_seconds:.0f} s behind its source, {late.outcome}",
        )
    for hop in trace.hops:
        if hop.hop in HOPS:
            # A sample is written when the fact is; when it was there follows from its age.
            arrived = next((f.arrived_at for f in trace.facts if f.arrived_at <= hop.at), hop.at)
            yield Step(min(arrived + timedelta(seconds=hop.age_seconds), hop.at), HOPS[hop.hop])


def _letter_steps(letter: Letter) -> Iterator[Step]:
    again = f" ({letter.failures}; of earlier times only the number is kept)" if letter.attempt else ""
    refused = f"refused by {letter.processor}{again}: {letter.reason}"
    wrong = [f"{error['path']}: {error['message']}" for error in letter.errors]
    if len(wrong) > 1:
        more = [f"and {len(wrong) - MOST_ERRORS} more, which the last line shows"] * (
            len(wrong) > MOST_ERRORS
        )
        yield Step(letter.failed_at, refused, (*wrong[:MOST_ERRORS], *more))
    else:
        yield Step(letter.failed_at, f"{refused} ({letter.first_error})")
    if letter.status in ("replayed", "discarded"):
        corrected = (
            ", corrected" if letter.replayed_payload is not None and letter.status == "replayed" else ""
        )
        yield Step(letter.updated_at, f"noted as {letter.status}{corrected}")


def _consequences(trace: Trace) -> Iterator[str]:
    fact = trace.facts[0]
    if trace.session is not None:
        session = trace.session
        yield (
            f"session   {session.session_id}: {session.events} event{'s' * (session.events != 1)} from "
            f"{instant(session.started_at)} to {instant(session.ended_at)}, "
            f"channel {session.channel or 'unknown'}{', a bot' * session.is_bot}; "
            f"last changed {instant(session.updated_at)}"
        )
    elif fact.visitor_id is None or fact.event_type in ("product_listed", "product_delisted"):
        yield "session   none: it is nobody's visit"
    else:
        yield f"session   {_no_session(trace, fact)}"
    yield f"late      {'yes' if fact.is_late else 'no'}"
    for link in trace.links:
        yield f"identity  {link.anonymous_id} is {link.customer_id}, seen {instant(link.seen_at)}"
    yield f"gold      {_gold(trace, fact)}"
    yield ""


def _no_session(trace: Trace, fact: Fact) -> str:
    days = trace.session_retention_days
    if any(late.outcome == "beyond_retention" and late.event_id == fact.event_id for late in trace.late):
        return (
            f"none: it came when it was older than sessions are kept (PIPELINE_SESSION_RETENTION_DAYS, "
            f"{days}); `pipeline rebuild` puts it into one"
        )
    yet = f"none of {fact.visitor_id} covers it yet: it is on its way there (see `pipeline status`)"
    # How old is too old is counted from the newest event, which is never ahead of the clock by a day.
    may_be_too_old = days > 0 and fact.occurred_at < trace.asked_at - timedelta(days=days - 1)
    return yet + ", unless it is found to be older than sessions are kept" * may_be_too_old


def _gold(trace: Trace, fact: Fact) -> str:
    gold = trace.gold
    if gold.built_at is None:
        return "not built: run `pipeline gold`"
    since = f"the last run began {instant(gold.built_at)}"
    since += ", and was not published" * (not gold.is_published)
    order_id = next((fact.order_id for fact in trace.facts if fact.order_id), None)
    if order_id is None:
        return since + (", before the event was stored" if gold.built_at < fact.loaded_at else "")
    if gold.order is None and fact.event_type == "purchase":
        return f"does not have order {order_id} yet; {since}"
    if gold.order is None:
        return f"does not have order {order_id}: an order comes with its purchase; {since}"
    order = gold.order
    told = f"order {order.order_id}, number {order.order_number} of its customer, revenue {order.revenue:f}"
    told += f"; {since}"
    if order.event_id != fact.event_id and fact.event_type == "purchase":
        told += f". It is counted by its earliest purchase, {order.event_id}: this one is a repeat"
    return told


def _after(start: datetime, at: datetime) -> str:
    seconds = (at - start).total_seconds()
    return f"+{seconds:.3f} s" if seconds < 3600 else f"+{seconds / 3600:.1f} h"  # noqa: PLR2004  (an hour)
