"""Identities: every event that carries both ids links a visitor to a customer. Facts, so no state is kept."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from processors.batches import visitor_events
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.silver import Identity, Revision, encode_silver
from streams.topics import CLEAN_EVENTS, SILVER_IDENTITIES


class IdentitiesStage:
    """Reports links."""

    name: Final = "identities"
    topic: Final = CLEAN_EVENTS
    stateful: Final = False
    state_settings: Final[Mapping[str, str]] = {}

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (a link is in the event alone)
        """Give the links of a batch, each once."""
        links = {
            (event.anonymous_id, event.customer_id, event.occurred_at): None
            for event in visitor_events(batch)
            if event.anonymous_id is not None and event.customer_id is not None
        }
        return Result(
            [
                Output(
                    SILVER_IDENTITIES,
                    anonymous_id.encode(),
                    encode_silver(
                        Identity(anonymous_id=anonymous_id, customer_id=customer_id, seen_at=seen_at)
                    ),
                )
                for anonymous_id, customer_id, seen_at in links
                if anonymous_id is not None and customer_id is not None
            ]
        )
