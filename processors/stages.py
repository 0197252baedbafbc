"""All stages of `pipeline process`, in the order of the path."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from processors.clean.channels import read_channels
from processors.clean.facts import Enrichment
from processors.clean.stage import CleanStage
from processors.customers import CustomersStage
from processors.identities import IdentitiesStage
from processors.products import ProductsStage
from processors.rates import read_rates
from processors.sessions.stage import SessionsStage
from streams.engine.batch import Stage
from streams.events import STREAMS


@dataclass(frozen=True)
class ProcessingConfig:
    """What the rules need to know."""

    rates_file: Path
    base_currency: str
    gap: timedelta
    retention: timedelta | None
    email_secret: bytes = field(repr=False)
    own_hosts: Sequence[str] = ()
    accept_flood: bool = False


def make_stages(config: ProcessingConfig) -> list[Stage]:
    """Make the stages.

    Raises:
        RatesError: the rate table cannot be read.
    """
    enrichment = Enrichment(
        rates=read_rates(config.rates_file, config.base_currency),
        channels=read_channels(own_hosts=config.own_hosts),
    )
    return [
        *(CleanStage(s, enrichment, config.gap, accept_flood=config.accept_flood) for s in STREAMS),
        SessionsStage(config.gap, config.retention, config.base_currency),
        CustomersStage(config.email_secret),
        ProductsStage(),
        IdentitiesStage(),
    ]
