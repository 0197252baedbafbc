"""The stages of `pipeline process`, as the settings say."""

from collections.abc import Sequence
from datetime import timedelta

from pipeline.errors import CONFIGURATION, UserError
from pipeline.settings import Settings
from processors.rates import RatesError
from processors.stages import ProcessingConfig, make_stages
from streams.engine.batch import Stage
from streams.engine.changelog import changelog_topics
from streams.topics import PROCESS_GROUP, Topic


def stages_of(settings: Settings, *, accept_flood: bool = False) -> Sequence[Stage]:
    """Make the stages; raises UserError when the exchange rates cannot be read."""
    try:
        return make_stages(
            ProcessingConfig(
                rates_file=settings.rates_file,
                base_currency=settings.base_currency,
                gap=timedelta(seconds=settings.session_gap_seconds),
                retention=timedelta(days=settings.session_retention_days) or None,
                email_secret=settings.email_hash_secret.get_secret_value().encode(),
                own_hosts=settings.own_hosts,
                accept_flood=accept_flood,
            )
        )
    except RatesError as error:
        raise UserError(f"{error} (PIPELINE_RATES_FILE)", exit_code=CONFIGURATION) from error


def changelogs(settings: Settings) -> list[Topic]:
    """Give the changelogs that the worker's tables need, to be declared."""
    return changelog_topics(PROCESS_GROUP, stages_of(settings))
