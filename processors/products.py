"""The catalogue: each product as its latest listing says, in any order of arrival."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

from processors.batches import catalogue_events
from processors.lww import Written, later, version_of
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.facts import CatalogueEvent
from streams.silver import REVISION, Product, Revision, encode_silver
from streams.topics import CLEAN_PRODUCTS, SILVER_PRODUCTS


class ProductState(Struct, array_like=True):
    """The latest listing, and whether the product was listed or delisted last."""

    listing: Written | None = None
    is_listed: Written | None = None
    listed_at: str | None = None


_decode_state = msgspec.msgpack.Decoder(ProductState).decode
_encode_state = msgspec.msgpack.Encoder().encode


def merge_event(state: ProductState, event: CatalogueEvent) -> None:
    """Merge one event of the product into the state; order and repetition do not matter."""
    version = version_of(event)
    listed = event.event_type == "product_listed"
    state.is_listed = later(state.is_listed, Written(version, listed))
    if listed:
        values = [event.name, event.category, str(event.price), event.currency, event.stock]
        state.listing = later(state.listing, Written(version, values))
        state.listed_at = min(filter(None, (state.listed_at, version.at)))


def to_product(product_id: str, state: ProductState, revision: Revision) -> Product:
    """Give the record of `silver.products`; `listed_at` is when it was first listed."""
    values: list[Any] = state.listing.value if state.listing else [None] * 5
    name, category, price, currency, stock = values
    return Product(
        product_id=product_id,
        revision=revision,
        name=name,
        category=category,
        price=Decimal(price) if price is not None else None,
        currency=currency,
        stock=stock,
        is_listed=bool(state.is_listed and state.is_listed.value),
        listed_at=datetime.fromisoformat(state.listed_at) if state.listed_at else None,
    )


class ProductsStage:
    """Keeps the catalogue."""

    name: Final = "products"
    topic: Final = CLEAN_PRODUCTS
    stateful: Final = True
    state_settings: Final[Mapping[str, str]] = {"layout": "1"}

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (event time alone decides)
        """Merge a batch; every product it touched is written and sent, changed or not."""
        touched: dict[str, ProductState] = {}
        for event in catalogue_events(batch):
            product = touched.get(event.product_id)
            if product is None:
                stored = state.get(event.product_id.encode())
                product = touched[event.product_id] = _decode_state(stored) if stored else ProductState()
            merge_event(product, event)
        header = revision.to_header()
        outputs = [
            Output(
                SILVER_PRODUCTS,
                product_id.encode(),
                encode_silver(to_product(product_id, product, revision)),
                [(REVISION, header)],
            )
            for product_id, product in touched.items()
        ]
        return Result(outputs, {key.encode(): _encode_state(value) for key, value in touched.items()})
