"""One dead letter, told: what it is, what is wrong, what was done with it, and what can be. Pure."""

import base64
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jsonpatch
import msgspec

from pipeline.dead_letters.letters import Identity, Letter
from pipeline.dead_letters.patching import decode_exact, encode_exact
from pipeline.dead_letters.rendering import payload_lines
from pipeline.dead_letters.suggesting import patch_for
from streams.dead_letters import Reason
from streams.events import STREAMS

_RULES: Final = {Reason.UNKNOWN_CURRENCY, Reason.PROCESSING_ERROR, Reason.REFUSED_BY_SINK}
"""Reasons that mostly go away by a change of ours."""
COUNTED_TWICE: Final = (
    "Sessions may have counted it before it was refused, and then count it twice until a rebuild: "
    "`pipeline verify` says so and names the command."
)


@dataclass(frozen=True)
class Shown:
    """A letter with what stands around it.

    `came` are the record's bytes as they came; `bronze_loaded_at` is null if bronze has no such row;
    `facts` are those stored under its event id: table, whose record it came from, when it was loaded.
    """

    letter: Letter
    came: bytes | None
    bronze_loaded_at: datetime | None
    facts: tuple[tuple[str, Identity, datetime], ...]

    @property
    def failed(self) -> bytes | None:
        """The payload that the errors are about: the correction, if that failed too.

        One that is replayed has not: the errors are of before.
        """
        letter = self.letter
        has_failed = letter.attempt > 0 and letter.status != "replayed"
        return letter.replayed_payload if letter.replayed_payload and has_failed else self.came


def as_text(shown: Shown) -> str:
    """Give the letter as people read it."""
    letter, lines = shown.letter, [str(shown.letter.identity)]
    what = ", ".join(part for part in (letter.event_type, letter.event_id) if part) or "(unreadable)"
    occurred = f", occurred {instant(letter.occurred_at)}" if letter.occurred_at else ""
    facts = [("status", f"{letter.status}; {letter.failures}; last changed {instant(letter.updated_at)}")]
    facts += [("reason", letter.reason), ("event", what + occurred)]
    facts += [("arrived", f"{instant(letter.arrived_at)}, partition key {letter.partition_key!r}")]
    facts += [("in bronze", f"since {instant(shown.bronze_loaded_at)}" if shown.bronze_loaded_at else "no")]
    facts += [
        (
            "failed",
            f"{instant(letter.failed_at)}, in {letter.processor} {letter.processor_version} ({letter.stage})",
        )
    ]
    facts += [("fact", told) for told in _facts(shown)]
    lines += [f"  {name:<10} {value}" for name, value in facts]
    failed = shown.failed
    lines += ["", f"{'correction' if failed is not shown.came else 'payload'}, {len(failed or b'')} bytes"]
    for line in payload_lines(failed, letter.errors):
        lines.append(
            f"{'>' if line.error else ' '} {line.text}" + (f"   ← {line.error}" if line.error else "")
        )
    if letter.replayed_payload is not None:
        lines += ["", "corrected by", f"  {correction_of(shown.came, letter.replayed_payload)}"]
    return "\n".join([*lines, "", *advice(letter, shown.came)])


def _facts(shown: Shown) -> list[str]:
    letter = shown.letter
    told = [
        f"{table}, loaded {instant(loaded_at)}"
        + ("" if identity == letter.identity else f", of another record: {identity}")
        for table, identity, loaded_at in shown.facts
    ]
    if not told and letter.status == "replayed":
        told.append("none yet: it is under way, see `pipeline status`")
    return told


def correction_of(came: bytes | None, corrected: bytes) -> str:
    """Give the JSON Patch that leads from what came to the correction; the whole, if what came is no JSON."""
    document = decode_exact(corrected)
    try:
        before = decode_exact(came or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return encode_exact([{"op": "replace", "path": "", "value": document}]).decode()
    operations: list[dict[str, Any]] = jsonpatch.make_patch(before, document).patch
    return encode_exact(operations).decode()


def advice(letter: Letter, came: bytes | None) -> list[str]:
    """Say how the letter can be replayed, given its bytes as they came."""
    command = f"  pipeline dead-letters replay {letter.identity}"
    if letter.stream not in STREAMS:
        return [
            f"It is a record of the topic {letter.stream}, which no producer sent: it cannot be replayed.",
            "`pipeline rebuild` makes it again from bronze; then:",
            f"  pipeline dead-letters discard {letter.identity}",
        ]
    if letter.status == "replayed":
        return [f"Follow it with:\n  pipeline trace {letter.event_id or letter.identity}"]
    if letter.reason == Reason.CONFLICTING_EVENT_ID:
        return [
            "Another event has its event_id. To store it under one of its own:",
            f"{command} --new-event-id",
            f"  {COUNTED_TWICE}",
        ]
    if letter.reason in _RULES:
        return ["To send it again, once the cause is gone:", command]
    patch = shlex.quote(patch_for(letter, came))
    return ["To send it again, corrected (fill in what … stands for):", f"{command} --patch {patch}"]


def as_values(shown: Shown) -> dict[str, Any]:
    """Give the letter as JSON has it; bytes that are no UTF-8 are given in base64."""
    letter = shown.letter
    values: dict[str, Any] = {"identity": str(letter.identity), **summary(letter)}
    values |= {
        "errors": letter.errors,
        "partition_key": letter.partition_key,
        "processor": letter.processor,
        "processor_version": letter.processor_version,
        "updated_at": letter.updated_at.isoformat(),
        "bronze_loaded_at": shown.bronze_loaded_at.isoformat() if shown.bronze_loaded_at else None,
        "facts": [
            {"table": table, "identity": str(identity), "loaded_at": loaded_at.isoformat()}
            for table, identity, loaded_at in shown.facts
        ],
    }
    for name, payload in (("payload", shown.came), ("replayed_payload", letter.replayed_payload)):
        values |= _bytes(name, payload)
    return values


def summary(letter: Letter) -> dict[str, Any]:
    """Give what a list has of a letter, as JSON has it."""
    return {
        "identity": str(letter.identity),
        "status": letter.status,
        "reason": letter.reason,
        "error": letter.first_error,
        "stage": letter.stage,
        "event_id": letter.event_id,
        "event_type": letter.event_type,
        "occurred_at": letter.occurred_at.isoformat() if letter.occurred_at else None,
        "arrived_at": letter.arrived_at.isoformat(),
        "failed_at": letter.failed_at.isoformat(),
        "attempt": letter.attempt,
        "is_corrected": letter.replayed_payload is not None,
    }


def instant(at: datetime) -> str:
    """Give an instant as people read it, UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def _bytes(name: str, payload: bytes | None) -> dict[str, str | None]:
    try:
        return {name: payload.decode() if payload is not None else None}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": base64.b64encode(payload or b"").decode()}
