"""A stage of one's own: each customer's largest purchase, kept up to date on a topic.

    python -m examples.largest_purchase

It reads `clean.events` beside the pipeline, in a consumer group of its own, and writes a compacted topic,
`examples.largest-purchases`, keyed by customer. Any number of these workers share the partitions.
"""

import sys
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import msgspec
from confluent_kafka.admin import AdminClient
from msgspec import Struct

from pipeline.settings import Settings
from pipeline.workers import engine_config, run
from streams.engine.app import BatchApp, create_app
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.engine.changelog import changelog_topics
from streams.facts import decode_visitor_event
from streams.silver import REVISION, Revision
from streams.topics import CLEAN_EVENTS, Topic, declare_topics

GROUP: Final = "examples-largest-purchase"
OUTPUT: Final = "examples.largest-purchases"


class LargestPurchase(Struct, order=True):
    """A purchase; the order of its fields decides which of two is larger, the same one in any order."""

    amount_base: Decimal
    event_id: str


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(LargestPurchase).decode


class LargestPurchaseStage:
    """Keeps the largest purchase of each customer."""

    name = "largest-purchase"
    topic = CLEAN_EVENTS
    stateful = True
    state_settings: Mapping[str, str] = MappingProxyType({"layout": "1"})

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (the same at any time)
        """Merge a batch; every customer it touched is written and sent, changed or not."""
        largest: dict[str, LargestPurchase] = {}
        for event in map(decode_visitor_event, batch.values):
            if event.event_type != "purchase" or event.customer_id is None or event.amount_base is None:
                continue
            customer = event.customer_id
            found = LargestPurchase(event.amount_base, event.event_id)
            if customer not in largest and (stored := state.get(customer.encode())) is not None:
                largest[customer] = decode(stored)
            largest[customer] = max(largest.get(customer, found), found)
        changes = {customer.encode(): encode(purchase) for customer, purchase in largest.items()}
        headers: list[tuple[str, str | bytes | None]] = [(REVISION, revision.to_header())]
        return Result([Output(OUTPUT, key, value, headers) for key, value in changes.items()], changes)


def make_app(settings: Settings) -> BatchApp:
    """Make the worker's app, and its topics if they are not there.

    Raises:
        TopicsError: Kafka cannot be reached, or topics are missing or divided otherwise.
    """
    stages = [LargestPurchaseStage()]
    topics = [Topic(OUTPUT, compacted=True), *changelog_topics(GROUP, stages)]
    declare_topics(
        AdminClient(settings.kafka.librdkafka()),
        topics,
        partitions=settings.partitions,
        replication=settings.kafka_replication,
    )
    return create_app(engine_config(settings, GROUP), stages=stages)


if __name__ == "__main__":
    sys.exit(run(make_app))
