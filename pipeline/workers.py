"""Running the Faust workers: what `pipeline process` and `pipeline sink` have in common."""

import logging
import sys
from collections.abc import Callable

import click

from pipeline.errors import CONFIGURATION, KAFKA_ADVICE, TRY_AGAIN, UserError
from pipeline.settings import Settings, SettingsError, load_settings
from streams import failpoints
from streams.engine.app import BatchApp, run_worker
from streams.engine.config import EngineConfig
from streams.topics import KafkaUnreachableError, TopicsError


def engine_config(settings: Settings, app_id: str) -> EngineConfig:
    """Give what the engine needs of the settings."""
    return EngineConfig(
        app_id=app_id,
        kafka=settings.kafka,
        partitions=settings.partitions,
        state_dir=settings.state_dir.absolute(),
        session_timeout_seconds=settings.session_timeout_seconds,
        state_memory_bytes=settings.state_memory_mb * 1024 * 1024,
        how_to_rebuild=" with `pipeline rebuild`",
    )


def run(make_app: Callable[[Settings], BatchApp]) -> int:
    """Make the app and run it until it is stopped.

    Returns:
        the exit code: 0 stopped, 70 crashed, 75 to be tried again, 78 the operator must act.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = load_settings()
        failpoints.arm(settings.failpoints)
        app = make_app(settings)
    except KafkaUnreachableError as error:
        click.echo(f"{error}{KAFKA_ADVICE}", err=True)
        return TRY_AGAIN
    except (SettingsError, TopicsError) as error:
        click.echo(str(error), err=True)
        return CONFIGURATION
    except UserError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    return run_worker(app)
