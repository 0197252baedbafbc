"""The command `pipeline`. Each subcommand is a module that is imported only when it is used."""

import importlib
import sys

import click

from pipeline.errors import CONFIGURATION, INTERRUPTED, KAFKA_ADVICE, UserError

COMMANDS = {
    "dead-letters": "pipeline.commands.dead_letters:dead_letters",
    "demo": "pipeline.commands.demo:demo",
    "gold": "pipeline.commands.gold:gold",
    "ingest": "pipeline.commands.ingest:ingest",
    "load": "pipeline.commands.load:load",
    "migrate": "pipeline.commands.migrate:migrate",
    "process": "pipeline.commands.process:process",
    "produce": "pipeline.commands.produce:produce",
    "quality": "pipeline.commands.quality:quality",
    "rebuild": "pipeline.commands.rebuild:rebuild",
    "reset": "pipeline.commands.reset:reset",
    "retention": "pipeline.commands.retention:retention",
    "sink": "pipeline.commands.sink:sink",
    "status": "pipeline.commands.status:status",
    "topics": "pipeline.commands.topics:topics",
    "trace": "pipeline.commands.trace:trace",
    "up": "pipeline.commands.up:up",
    "verify": "pipeline.commands.verify:verify",
}
"""Where each command is, as module:attribute."""

SUMMARIES = {
    "dead-letters": "Look at refused records, correct them, send them again.",
    "demo": "Run the whole path once on synthetic events, and check it.",
    "gold": "Build the gold tables, once or on an interval.",
    "ingest": "Copy a Kinesis stream to Kafka.",
    "load": "Send your own events, JSON lines, to Kinesis.",
    "migrate": "Bring the database to the newest schema.",
    "process": "Run a worker: raw events to clean events, sessions and entities.",
    "produce": "Send the events of a synthetic shop to Kinesis.",
    "quality": "Check silver's freshness and all rules of the data.",
    "rebuild": "Make silver again from bronze, beside the live tables, and swap.",
    "reset": "Throw away the local platform's state, after asking.",
    "retention": "Throw away old days of bronze, old changes and samples.",
    "sink": "Run a worker: every topic to its tables in Postgres.",
    "status": "Show every hop: what waits, rates, ages, dead letters, gold.",
    "topics": "Declare the Kafka topics.",
    "trace": "Tell where an event is, and why.",
    "up": "Run the whole pipeline on this machine, until Ctrl-C.",
    "verify": "Check that nothing was lost, doubled or invented.",
}
"""A line for each command, so that `pipeline --help` need not import them all."""

KNOWN_ERRORS = {
    "pipeline.settings.SettingsError": CONFIGURATION,
    "sinks.migrate.MigrationError": 1,
    "streams.topics.KafkaUnreachableError": 1,
    "streams.topics.TopicsError": CONFIGURATION,
}
"""Exit codes of errors of other packages that speak to the user; by name, to import none of them."""
ADVICE = {"streams.topics.KafkaUnreachableError": KAFKA_ADVICE}
"""What is added to the text of some of them, likewise."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Give the names of the commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (click's)
        """Import a command; None if there is none of that name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"{place} is no command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="event-pipeline", message="%(version)s")
def pipeline() -> None:
    """Events from Kinesis through Kafka and Faust to Postgres, in real time and exactly.

    Settings are variables PIPELINE_…, in the environment or a file .env.
    """


def exit_code(error: BaseException) -> int | None:
    """Give the exit code of an error that speaks to the user; None for any other."""
    if isinstance(error, UserError):
        return error.exit_code
    return next((KNOWN_ERRORS[name] for name in _names(error) if name in KNOWN_ERRORS), None)


def text_of(error: BaseException) -> str:
    """Give what an error says to the user, with advice if it has none of its own."""
    return f"{error}{next((ADVICE[name] for name in _names(error) if name in ADVICE), '')}"


def was_interrupted(error: BaseException) -> bool:
    """Tell whether Ctrl-C is behind an error; one that was pressed at a question hides in its context."""
    causes = (error, error.__cause__, error.__context__)
    return any(isinstance(cause, KeyboardInterrupt) for cause in causes)


def _names(error: BaseException) -> list[str]:
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]


def main() -> None:
    """Run the command line; an error that the user can act on is one line, all others are tracebacks."""
    try:
        sys.exit(pipeline(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        interrupted = was_interrupted(error)
        click.echo("pipeline: interrupted" if interrupted else "pipeline: not confirmed", err=True)
        sys.exit(INTERRUPTED if interrupted else 1)
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        click.echo(f"pipeline: {text_of(error)}", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
