"""Decoding the batches of clean topics, once for all agents that read a topic."""

from streams.engine.batch import Batch
from streams.facts import (
    CatalogueEvent,
    VisitorEvent,
    decode_catalogue_event,
    decode_visitor_event,
)

_MEMO = "decoded"


def visitor_events(batch: Batch) -> list[VisitorEvent]:
    """Give the events of a batch of `clean.events`.

    Raises:
        msgspec.DecodeError: a record is no clean event; only our own stages write there, so this is a defect.
    """
    events: list[VisitorEvent] | None = batch.memo.get(_MEMO)
    if events is None:
        events = [decode_visitor_event(value) for value in batch.values]
        batch.memo[_MEMO] = events
    return events


def catalogue_events(batch: Batch) -> list[CatalogueEvent]:
    """Give the events of a batch of `clean.products`; raises as `visitor_events` does."""
    return [decode_catalogue_event(value) for value in batch.values]
