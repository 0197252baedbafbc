"""`pipeline up`: the whole pipeline on this machine."""

import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.errors import LocalError, UserError
from pipeline.local.attached import stopped_programs
from pipeline.local.home import Home
from pipeline.local.platform import LocalPlatform
from pipeline.local.programs import default_workers, producer
from pipeline.local.signals import stop_by_signals
from pipeline.local.supervisor import State
from pipeline.parameters import RateType
from pipeline.prepare import start_pipeline
from pipeline.settings import load_settings
from pipeline.status import RAW, Status, look, wait_drained
from streams.topics import PROCESS_GROUP, SINK_GROUP

LOOK_SECONDS = 1.0
TAIL_BYTES = 16_384
MESSAGE_CHARACTERS = 500
"""How much of a log is looked at for the last message, and how much of that is shown."""
_LEVEL = re.compile(r"\d{4}-\S+ \S+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
DRAIN_SECONDS = 30.0


@click.command("up")
@click.option(
    "--no-produce", is_flag=True, help="Without synthetic events: bring your own by `pipeline load`."
)
@click.option("--rate", type=RateType(), default=20.0, show_default=True, help="Synthetic events a second.")
def up(no_produce: bool, rate: float) -> None:
    """Run the whole pipeline on this machine, until Ctrl-C; state is kept, and the next `up` goes on."""
    settings = load_settings()
    workers = default_workers(gold_every_seconds=settings.gold_every_seconds)
    if not no_produce:
        workers.append(producer("--rate", f"{rate:g}"))
    platform = LocalPlatform(settings, workers, say=click.echo)
    with stop_by_signals():
        try:
            platform.start()
            start_pipeline(platform)
            watch(platform)
        except KeyboardInterrupt:
            click.echo("stopping; once more to stop at once")
        finally:
            platform.stop(drain=lambda: drain(platform))
    click.echo("stopped")


def drain(platform: LocalPlatform) -> None:
    """Let the workers copy what is in the emulator, which forgets it when it stops."""
    if platform.settings.kinesis_endpoint is None:
        return
    platform.say("copying what is left on Kinesis")
    if not wait_drained(platform.settings, DRAIN_SECONDS):
        platform.say(
            f"Kinesis is not empty after {DRAIN_SECONDS:.0f} s: the emulator forgets what was not copied "
            f"to Kafka; send it again with `pipeline load`"
        )


def watch(platform: LocalPlatform) -> None:
    """Show how the processes are until a signal raises KeyboardInterrupt.

    On a terminal it is a table that changes in place, else a line for each change.

    Raises:
        LocalError: the supervisor is gone.
    """
    console = Console()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                states = _states(platform)
                shown: list[RenderableType] = [
                    table(platform, states),
                    *map(Text, _refusals(platform, states)),
                ]
                try:
                    shown.append(path_table(look(platform.settings, LOOK_SECONDS)))
                except UserError:  # a part is starting; its line above says so
                    time.sleep(LOOK_SECONDS)
                live.update(Group(*shown), refresh=True)
    before: dict[str, tuple[State, list[str]]] = {}
    while True:
        now = {name: (state, _refusals(platform, {name: state})) for name, state in _states(platform).items()}
        for name, (state, lines) in now.items():
            state_before, lines_before = before.get(name, (None, []))
            if state != state_before:
                click.echo(f"{name}: {describe(state)}")
            if lines != lines_before:
                for line in lines:
                    click.echo(line)
        sys.stdout.flush()
        before = now
        time.sleep(LOOK_SECONDS)


def table(platform: LocalPlatform, states: dict[str, State]) -> Table:
    """Give the processes as a table."""
    shown = Table(title=f"{platform.home}", caption="Ctrl-C stops everything", title_justify="left")
    for heading in ("process", "state", "up for", "log"):
        shown.add_column(heading)
    now = time.time()
    for name, state in states.items():
        up_for = f"{now - state.started_at:.0f} s" if state.is_running else ""
        shown.add_row(name, describe(state), up_for, str(platform.log_file(name)))
    return shown


def path_table(status: Status) -> Table:
    """Give what goes through the pipeline, in the order of the path."""
    waiting = sum(hop.waiting for hop in status.kinesis)
    lags: Counter[str] = Counter()
    for hop in status.kafka:
        lags[hop.group] += hop.lag
    incoming = sum(h.rate for h in status.kafka if h.group == SINK_GROUP and h.topic in RAW)
    ages = {age.hop: f"{age.p50_seconds:.1f} s" for age in status.ages}
    shown = Table(title="on the way", title_justify="left")
    for heading in ("hop", "waiting", "age of events after it, p50"):
        shown.add_column(heading)
    shown.add_row("Kinesis to Kafka", f"{waiting} of {len(status.kinesis)} streams", ages.get("ingest", ""))
    shown.add_row("clean, sessions, entities", f"{lags[PROCESS_GROUP]} records", ages.get("clean", ""))
    shown.add_row("Kafka to Postgres", f"{lags[SINK_GROUP]} records", ages.get("silver", ""))
    letters = sum(status.dead_letters.values())
    gold = f"{status.gold.status} {status.gold.started_at:%H:%M:%S}" if status.gold else "not built yet"
    shown.caption = f"{incoming:.0f} records/s arrive; {letters} dead letters; gold: {gold}"
    return shown


def _refusals(platform: LocalPlatform, states: Mapping[str, State]) -> list[str]:
    """Give what each process that has given up said last, and why others are stopped that should run."""
    given_up = [name for name, state in states.items() if has_given_up(state)]
    stopped = stopped_programs(Home(platform.home), lambda: states)
    return [
        *(f"{name} says: {last_message(platform.log_file(name))}" for name in given_up),
        *(f"{name} DOES NOT RUN: {each.why}" for name, each in stopped.items() if name not in given_up),
    ]


def has_given_up(state: State) -> bool:
    """Tell whether a process has ended with a failure and is not started again."""
    return state.state == "EXITED" and state.exit_code != 0


def last_message(log: Path) -> str:
    """Give the last message of a log in one line: its last error if lines have levels, else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"its log {log} cannot be read: {error.strerror}"
    told = [line.strip() for line in lines if line.strip()]
    if not told:
        return f"nothing; its log {log} is empty"
    levels = [_LEVEL.match(line) for line in told]
    errors = [i for i, found in enumerate(levels) if found and found[1] in {"ERROR", "CRITICAL"}]
    last = errors[-1] if levels[-1] and errors else len(told) - 1
    message = _LEVEL.sub("", told[last], count=1)
    return message if len(message) <= MESSAGE_CHARACTERS else f"{message[:MESSAGE_CHARACTERS]}… (see {log})"


def describe(state: State) -> str:
    """Say in a few words how a process is."""
    if state.is_running:
        return f"{state.state.lower()}, process {state.pid}"
    if state.state == "EXITED":
        return f"exited with {state.exit_code}, see its log" if state.exit_code else "done"
    return state.state.lower()


def _states(platform: LocalPlatform) -> dict[str, State]:
    if not platform.is_alive:
        raise LocalError(f"the supervisor has ended; see {platform.logs / 'supervisord.log'}")
    return platform.states()
